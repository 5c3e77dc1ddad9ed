import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type App, Token } from 'aws-cdk-lib';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';

/** What every setting of the command line begins with: `-c bond:retain=false`. */
export const PREFIX = 'bond:';

/** Settings that Bond's processes read from their environment, and what they are here unless set with `-c bond:NAME=VALUE`. */
const PROCESS_DEFAULTS = {
  BOND_TOKEN_TTL: '3600',
  BOND_MAX_STREAMS: '5',
  BOND_LEGACY_TOKENS: 'false',
  BOND_RING_SECONDS: '60',
  // Of a cache.t4g.small, which holds 1.4 GB, and of a task of 1 GB.
  BOND_RING_MIB: '256',
  BOND_MAX_LAG_MS: '250',
  BOND_FEED_SYMBOLS: 'BTC/USDT,ETH/USDT,SOL/USDT',
  // API Gateway bills every message, and closes what is idle for 10 minutes.
  BOND_HEARTBEAT_SECONDS: '300',
  BOND_PROBE_SECONDS: '300',
  BOND_KEYS_SECONDS: '3',
  // Lanes post side by side: 16 of them stay within the 10,000 calls a second that API Gateway grants an account per region.
  BOND_POSTS_PER_SECOND: '600',
  BOND_LOG: 'info',
  BOND_LOG_FORMAT: 'json',
};

/** The name of a setting of Bond's processes. */
export type ProcessSetting = keyof typeof PROCESS_DEFAULTS;

/** How Bond is deployed. Each field is set with `-c bond:{field}=VALUE`. */
export interface Settings {
  /** What the stacks' names begin with, and the value of the metrics' dimension `Deployment`. */
  name: string;
  /** The directory of the functions' zips, `{function}.zip` each. */
  zips: string;
  /** The tag of the image that ingest runs, unless the parameter `ImageTag` says otherwise at deployment. */
  imageTag: string;
  /** Whether tables, secrets and images survive the removal of their stack. */
  retain: boolean;
  /** How many fan-out invocations may run at once, reserved: one per lane and headroom. 0 reserves nothing. */
  fanoutConcurrency: number;
  /** How many invocations of `api` may run at once, reserved and at most; 0: as many as the account allows. */
  apiConcurrency: number;
  /** The same of `ws_connect`. */
  connectConcurrency: number;
  /** The same of `ws_message`. */
  messageConcurrency: number;
  /** The node type of Redis. */
  cacheNode: string;
  /** CPU units of an ingest task; 1024 are one vCPU. */
  ingestCpu: number;
  /** Memory of an ingest task, in MiB. */
  ingestMemory: number;
  /** How long logs are kept, in days: one of the values that CloudWatch Logs takes. */
  logDays: number;
  /** Whether the role is set with which API Gateway writes logs: one per account and region, shared by all its APIs. */
  gatewayLogRole: boolean;
  /** The ARN of the SNS topic that alarms and the budget notify; empty: none. */
  alarmTopic: string;
  /** What `iss` of tokens for topics must be; empty: anything. */
  jwtIssuer: string;
  /** What `aud` of tokens for topics must be or contain; empty: anything. */
  jwtAudience: string;
  /** What the account may cost a month in US dollars before somebody is told; 0: no budget. */
  monthlyBudget: number;
  /** What Bond's processes read from their environment. */
  processes: Record<ProcessSetting, string>;
}

const DEFAULTS: Omit<Settings, 'processes'> = {
  name: 'Bond',
  zips: fileURLToPath(new URL('../../dist', import.meta.url)),
  imageTag: version(),
  retain: true,
  fanoutConcurrency: 24,
  apiConcurrency: 50,
  connectConcurrency: 100,
  messageConcurrency: 100,
  cacheNode: 'cache.t4g.small',
  ingestCpu: 512,
  ingestMemory: 1024,
  logDays: 30,
  gatewayLogRole: true,
  alarmTopic: '',
  jwtIssuer: '',
  jwtAudience: '',
  monthlyBudget: 200,
};

/** Reads the settings from the app's context. Throws with every problem at once. */
export function readSettings(app: App): Settings {
  const given = ownContext(app);
  const problems: string[] = [];
  const settings: Record<string, unknown> = { ...DEFAULTS, processes: { ...PROCESS_DEFAULTS } };
  for (const [name, value] of Object.entries(given)) {
    if (name in PROCESS_DEFAULTS) (settings['processes'] as Record<string, string>)[name] = String(value);
    else if (name in DEFAULTS) settings[name] = parse(name as keyof typeof DEFAULTS, value, problems);
    else problems.push(`no such setting: ${PREFIX}${name}`);
  }
  check(settings as unknown as Settings, problems);
  if (problems.length > 0) throw new Error(`settings cannot be used:\n  - ${problems.join('\n  - ')}`);
  return settings as unknown as Settings;
}

function ownContext(app: App): Record<string, unknown> {
  const all = Object.entries(app.node.getAllContext() as Record<string, unknown>);
  const own = all.filter(([key]) => key.startsWith(PREFIX));
  return Object.fromEntries(own.map(([key, value]) => [key.slice(PREFIX.length), value]));
}

function parse(name: keyof typeof DEFAULTS, value: unknown, problems: string[]): unknown {
  switch (typeof DEFAULTS[name]) {
    case 'boolean':
      if (!['true', 'false'].includes(String(value))) problems.push(`${PREFIX}${name} is true or false: ${value}`);
      return String(value) === 'true';
    case 'number':
      if (!/^\d+$/.test(String(value))) problems.push(`${PREFIX}${name} is a whole number: ${value}`);
      return Number(value);
    default:
      return String(value);
  }
}

function check(settings: Settings, problems: string[]): void {
  if (!/^[A-Z][A-Za-z0-9]{0,31}$/.test(settings.name)) problems.push(`${PREFIX}name is a capital and letters or digits: ${settings.name}`);
  if (!(settings.logDays in RetentionDays)) problems.push(`${PREFIX}logDays is a number of days that CloudWatch Logs takes: ${settings.logDays}`);
  const topic = settings.alarmTopic;
  if (topic !== '' && !Token.isUnresolved(topic) && !topic.startsWith('arn:')) problems.push(`${PREFIX}alarmTopic is the ARN of an SNS topic: ${topic}`);
}

/** The version of the release that these stacks deploy. */
function version(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
