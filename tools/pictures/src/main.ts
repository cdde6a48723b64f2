// Draws dashboards as PNGs and says which panels have nothing to show.
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { collect, type Moment } from './collect';
import { Studio } from './studio';
import type { Dashboard, Picture } from './picture';
import { Prometheus } from './prometheus';
import { silent } from './silent';

const USAGE = `usage: main.js --prometheus URL --chromium PATH --from SECONDS --moment NAME=SECONDS ...
               [--scrape SECONDS] [--width PIXELS] --out FOLDER DASHBOARD.json ...

Draws each dashboard once per moment (the end of its time range) as FOLDER/DASHBOARD-NAME.png.
Exit code 1 when a query gives nothing at any of the moments, unless its panel says with a
noValue of its own what that means.`;

const { values: options, positionals: files } = parseArgs({
  allowPositionals: true,
  options: {
    prometheus: { type: 'string' },
    chromium: { type: 'string' },
    from: { type: 'string' },
    moment: { type: 'string', multiple: true, default: [] },
    scrape: { type: 'string', default: '15' },
    width: { type: 'string', default: '1600' },
    out: { type: 'string' },
  },
});

function moment(text: string): Moment {
  const [name = '', to = ''] = text.split('=');
  return { name, to: Number(to) };
}

async function main(): Promise<number> {
  const { prometheus: url, chromium, from, out } = options;
  const moments = options.moment.map(moment);
  if (!url || !chromium || !from || !out || moments.length === 0 || files.length === 0) {
    console.error(USAGE);
    return 2;
  }
  const view = { from: Number(from), scrape: Number(options.scrape), width: Number(options.width) };
  const prometheus = new Prometheus(url);
  const studio = await Studio.open(chromium, view.width);
  let missing = 0;
  try {
    await mkdir(out, { recursive: true });
    for (const file of files) {
      const dashboard = JSON.parse(readFileSync(file, 'utf8')) as Dashboard;
      const pictures: Picture[] = [];
      for (const { name, to } of moments) {
        const picture = await collect(dashboard, prometheus, { ...view, to });
        const png = await studio.draw(picture);
        const path = join(out, `${basename(file, '.json')}-${name}.png`);
        await writeFile(path, png);
        console.log(`${path}: ${Math.round(png.length / 1024)} KiB`);
        pictures.push(picture);
      }
      const problems = silent(dashboard, pictures);
      problems.forEach((problem) => console.log(`  ${problem.words}`));
      missing += problems.filter((problem) => !problem.expected).length;
    }
  } finally {
    await studio.close();
  }
  return missing === 0 ? 0 : 1;
}

main().then(
  (code) => process.exit(code),
  (error: Error) => {
    console.error(`dashboards are not drawn: ${error.message}`);
    process.exit(2);
  },
);
