// Which panels show nothing.
import { charts, type Dashboard, type Panel, type Picture } from './picture';

export interface Silent {
  words: string;
  /** The panel says itself, in its `noValue`, what it means to have no data. */
  expected: boolean;
}

/** Words that only name what is missing. */
const PLAIN = /^(no data|unknown)$/i;

export function silent(dashboard: Dashboard, pictures: Picture[]): Silent[] {
  return charts(dashboard).flatMap((panel) => {
    const queries = (panel.targets ?? []).filter((query) => !query.hide);
    const mute = queries.filter(({ refId }) => !pictures.some((picture) => speaks(picture, panel, refId)));
    if (mute.length === 0) {
      return [];
    }
    const what = mute.length === queries.length ? 'has no data' : `has no data for ${mute.map(({ refId }) => refId).join(', ')}`;
    const meaning = panel.fieldConfig?.defaults.noValue;
    const expected = meaning !== undefined && !PLAIN.test(meaning);
    return [{ words: `"${panel.title}" (panel ${panel.id}) ${what}${expected ? `, which means: ${meaning}` : ''}`, expected }];
  });
}

function speaks(picture: Picture, panel: Panel, refId: string): boolean {
  const answer = picture.answers[panel.id]?.find((one) => one.refId === refId);
  return answer?.series.some(({ values }) => values.some((value) => !Number.isNaN(value))) ?? false;
}
