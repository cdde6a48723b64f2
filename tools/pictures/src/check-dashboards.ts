// Writes each dashboard as a TypeScript file that says what it has to be, for tsc to judge.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const FOLDER = 'build/dashboards';

rmSync(FOLDER, { recursive: true, force: true });
mkdirSync(FOLDER, { recursive: true });
for (const file of process.argv.slice(2)) {
  const source = ["import type { DashboardJson } from '../../src/schema';", 'export const dashboard: DashboardJson ='];
  writeFileSync(join(FOLDER, `${basename(file, '.json')}.ts`), [...source, readFileSync(file, 'utf8')].join('\n'));
}
