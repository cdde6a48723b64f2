// The page: draws one Picture in Grafana's dark theme, laid out on Grafana's grid.
import { createTheme, dateTime, dateTimeFormat, EventBusSrv, ThemeContext } from '@grafana/data';
import type { GrafanaTheme2, TimeRange } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles, Icon, PanelChrome, PanelContextProvider } from '@grafana/ui';
import type { ReactNode } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';
import { frames, TIME_ZONE } from './frames';
import { TYPES } from './panels';
import { canvasHeight, decode, isRow, place, type Panel, type Picture, type Row } from './picture';

const MARGIN = 16;
const HEADER = 88;

function DashboardPage({ picture, theme }: { picture: Picture; theme: GrafanaTheme2 }) {
  const width = window.innerWidth - 2 * MARGIN;
  const { dashboard } = picture;
  return (
    <div style={{ padding: MARGIN }}>
      <Header picture={picture} theme={theme} />
      <div style={{ position: 'relative', height: canvasHeight(dashboard) }}>
        {dashboard.panels.map((panel) => (
          <div key={panel.id} style={{ position: 'absolute', ...place(panel.gridPos, width) }}>
            {isRow(panel) ? <RowHeader row={panel} /> : <Chart panel={panel} picture={picture} theme={theme} width={width} />}
          </div>
        ))}
      </div>
    </div>
  );
}

function Header({ picture, theme }: { picture: Picture; theme: GrafanaTheme2 }) {
  const time = (at: number) => dateTimeFormat(at, { timeZone: TIME_ZONE });
  const choice = { border: `1px solid ${theme.colors.border.medium}`, padding: '5px 8px', borderRadius: 2 };
  return (
    <header style={{ height: HEADER }}>
      <div style={{ display: 'flex', justifyContent: 'space-between', fontSize: 18, marginBottom: 12 }}>
        <span>{picture.dashboard.title}</span>
        <span style={{ fontSize: 14, color: theme.colors.text.secondary }}>
          {time(picture.from)} to {time(picture.to)} UTC
        </span>
      </div>
      <div style={{ display: 'flex', gap: 8 }}>
        {picture.choices.map(({ label, text }) => (
          <div key={label} style={{ display: 'flex' }}>
            <span style={{ ...choice, background: theme.colors.background.secondary }}>{label}</span>
            <span style={{ ...choice, borderLeft: 0 }}>{text}</span>
          </div>
        ))}
      </div>
    </header>
  );
}

function RowHeader({ row }: { row: Row }) {
  return (
    <div style={{ display: 'flex', alignItems: 'center', gap: 8, height: '100%', fontWeight: 500 }}>
      <Icon name={row.collapsed ? 'angle-right' : 'angle-down'} />
      {row.title}
    </div>
  );
}

function Chart({ panel, picture, theme, width }: { panel: Panel; picture: Picture; theme: GrafanaTheme2; width: number }) {
  const type = TYPES[panel.type];
  if (!type) {
    throw new Error(`panel "${panel.title}" is of type ${panel.type}, which has no file in src/panels yet`);
  }
  const data = frames(panel, picture.answers[panel.id] ?? [], theme, type.defaults);
  const timeRange = range(picture);
  const box = place(panel.gridPos, width);
  return (
    <PanelChrome title={panel.title ?? ''} description={panel.description ?? ''} width={box.width} height={box.height}>
      {(innerWidth, innerHeight) =>
        data.length === 0 && !type.drawsEmpty ? (
          <Nothing words={panel.fieldConfig?.defaults.noValue ?? 'No data'} theme={theme} height={innerHeight} />
        ) : (
          type.draw({ panel, data, timeRange, theme, width: innerWidth, height: innerHeight })
        )
      }
    </PanelChrome>
  );
}

function Nothing({ words, theme, height }: { words: string; theme: GrafanaTheme2; height: number }) {
  const style = { height, display: 'grid', placeItems: 'center', fontSize: 18, color: theme.colors.text.secondary };
  return <div style={style}>{words}</div>;
}

function range({ from, to }: Picture): TimeRange {
  const [first, last] = [dateTime(from), dateTime(to)];
  return { from: first, to: last, raw: { from: first, to: last } };
}

window.draw = async (encoded) => {
  const picture = decode(encoded);
  await initPluginTranslations('pictures');
  const theme = createTheme({ colors: { mode: 'dark' } });
  const context = { eventsScope: 'pictures', eventBus: new EventBusSrv() };
  const root = createRoot(document.getElementById('root')!);
  const show = (content: ReactNode) =>
    flushSync(() =>
      root.render(
        <ThemeContext.Provider value={theme}>
          <GlobalStyles />
          <PanelContextProvider value={context}>{content}</PanelContextProvider>
        </ThemeContext.Provider>,
      ),
    );
  // The styles bring the fonts; what is drawn on a canvas does not wait for them.
  show(null);
  document.body.style.margin = '0';
  await Promise.all(['400 12px Inter', '500 14px Inter'].map((font) => document.fonts.load(font)));
  show(<DashboardPage picture={picture} theme={theme} />);
  return HEADER + 2 * MARGIN + canvasHeight(picture.dashboard);
};
