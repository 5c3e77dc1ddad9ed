import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Template } from 'aws-cdk-lib/assertions';
import { bondApp } from '../lib/app.ts';

/** The names of the functions' zips. */
export const FUNCTIONS = ['api', 'ws_connect', 'ws_disconnect', 'ws_message', 'fanout'];

const flags = (JSON.parse(readFileSync(new URL('../cdk.json', import.meta.url), 'utf8')) as { context: object }).context;

/** A resource as it stands in a template. */
export interface Resource {
  Type: string;
  // Their shape is what the tests are about.
  Properties: any;
  DeletionPolicy?: string;
}

/** Bond's app with these settings, over zips that hold nothing. */
export function app(settings: Record<string, string> = {}) {
  const zips = mkdtempSync(path.join(tmpdir(), 'bond-zips-'));
  FUNCTIONS.forEach((name) => writeFileSync(path.join(zips, `${name}.zip`), name));
  const own = Object.entries({ zips, ...settings }).map(([name, value]) => [`bond:${name}`, value]);
  return bondApp({ context: { ...flags, ...Object.fromEntries(own) }, outdir: mkdtempSync(path.join(tmpdir(), 'bond-out-')) });
}

/** The templates of {@link app}. */
export function templates(settings: Record<string, string> = {}) {
  const { app: _, ...stacks } = app(settings);
  const all = Object.entries(stacks).map(([name, stack]) => [name, Template.fromStack(stack)]);
  return Object.fromEntries(all) as Record<keyof typeof stacks, Template>;
}

/** All resources of this type, by logical id. */
export function resources(template: Template, type: string): [string, Resource][] {
  return Object.entries(template.findResources(type)) as [string, Resource][];
}

/** The only resource of this type whose logical id begins so. */
export function resource(template: Template, type: string, prefix = ''): Resource {
  const found = resources(template, type).filter(([id]) => id.startsWith(prefix));
  if (found.length !== 1) throw new Error(`${found.length} resources ${type} ${prefix}: ${found.map(([id]) => id)}`);
  return found[0]![1];
}
