import { Duration } from 'aws-cdk-lib';
import { Alarm, ComparisonOperator, type Metric, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import type { CacheStack } from './cache.ts';
import type { DataStack } from './data.ts';
import { awsMetric, type BondMetric, bondMetric } from './metrics.ts';
import type { RealtimeStack } from './realtime.ts';

/** When somebody is told. Each watches one plain metric: percentages are told as such, not computed. */
export interface AlarmSpec {
  id: string;
  /** What is wrong, and where to look. */
  description: string;
  metric: Metric;
  /** Told above it; below it where `below` is set. */
  threshold: number;
  below?: boolean;
  /** For how many periods running. */
  periods: number;
  /** Whether silence is as bad as a bad value. */
  silenceIsBad?: boolean;
}

/** What the alarms watch. */
export interface Watched {
  deployment: string;
  data: DataStack;
  cache: CacheStack;
  realtime: RealtimeStack;
}

/** All alarms. */
export function alarmSpecs(watched: Watched): AlarmSpec[] {
  return [...serviceLevel(watched.deployment), ...abuse(watched.deployment), ...ingest(watched.deployment), ...capacity(watched)];
}

/** Adds one alarm to the stack of `scope`. */
export function addAlarm(scope: ConstructorParameters<typeof Alarm>[0], spec: AlarmSpec): Alarm {
  return new Alarm(scope, spec.id, {
    alarmDescription: spec.description,
    metric: spec.metric,
    threshold: spec.threshold,
    comparisonOperator: spec.below ? ComparisonOperator.LESS_THAN_THRESHOLD : ComparisonOperator.GREATER_THAN_THRESHOLD,
    evaluationPeriods: spec.periods,
    treatMissingData: spec.silenceIsBad ? TreatMissingData.BREACHING : TreatMissingData.NOT_BREACHING,
  });
}

/** The thresholds that Bond promises its clients. */
function serviceLevel(deployment: string): AlarmSpec[] {
  const spec = (id: BondMetric, statistic: string, threshold: number, description: string): AlarmSpec => ({
    id,
    description,
    metric: bondMetric(deployment, id, statistic),
    threshold,
    periods: 3,
  });
  return [
    spec('ConnectFailurePercent', 'Average', 5, 'More than 5 % of those who may connect cannot: log of ws_connect'),
    spec('DroppedPercent', 'Maximum', 1, 'More than 1 % of events skipped for slow clients: stops by kind in the log of ingest'),
    spec('DeliveryP95Ms', 'Maximum', 100, 'The 95th percentile from arrival to post is above 100 ms: fan-out duration, throttled posts'),
    spec('QueueDepth', 'Maximum', 1000, 'A connection waits for more than 1000 events: slow client, or topic too fast without batches'),
    spec('ErrorPercent', 'Average', 2, 'More than 2 % of requests fail by our fault: logs of the functions'),
  ];
}

/** What costs money and serves nobody. */
function abuse(deployment: string): AlarmSpec[] {
  return [
    {
      id: 'ConnectsRefused',
      description: 'More than 10 a second are refused a connection: somebody tries tokens or keys, or a client does not stop; access log of the WebSocket API',
      metric: bondMetric(deployment, 'ConnectsRefused', 'Sum'),
      threshold: 600,
      periods: 3,
    },
  ];
}

function ingest(deployment: string): AlarmSpec[] {
  return [
    {
      id: 'RelayLagMs',
      description: 'The relay is more than 5 s behind the log: fan-out throttles and quota',
      metric: bondMetric(deployment, 'RelayLagMs', 'Maximum'),
      threshold: 5000,
      periods: 3,
    },
    {
      id: 'NotLeading',
      description: 'No ingest task leads: nothing is taken in or delivered; log of ingest, Redis',
      metric: bondMetric(deployment, 'Leading', 'Maximum'),
      threshold: 1,
      below: true,
      periods: 2,
      silenceIsBad: true,
    },
    {
      id: 'NoStandby',
      description: 'No ingest task stands by: a failure now interrupts for as long as a task takes to start',
      // Each task tells once a minute: two make ten in five minutes.
      metric: bondMetric(deployment, 'Leading', 'SampleCount', Duration.minutes(5)),
      threshold: 7,
      below: true,
      periods: 2,
      silenceIsBad: true,
    },
  ];
}

function capacity({ data, cache, realtime }: Watched): AlarmSpec[] {
  const specs: AlarmSpec[] = [];
  for (const [name, table] of Object.entries({ Streams: data.streams, Connections: data.connections })) {
    for (const kind of ['ReadThrottleEvents', 'WriteThrottleEvents']) {
      specs.push(above(`${name}${kind}`, `DynamoDB throttles the table ${name}`, awsMetric('DynamoDB', kind, 'Sum', { TableName: table.tableName })));
    }
  }
  for (const [name, { handler }] of Object.entries(realtime.functions)) {
    const metric = awsMetric('Lambda', 'Throttles', 'Sum', { FunctionName: handler.functionName });
    specs.push(above(`${name}Throttles`, `Lambda refuses to start ${name}: concurrency of the account`, metric));
  }
  for (const [index, CacheClusterId] of cache.nodes.entries()) {
    const metric = awsMetric('ElastiCache', 'DatabaseMemoryUsagePercentage', 'Maximum', { CacheClusterId });
    specs.push(above(`Memory${index + 1}`, 'Redis is nearly full: then appends are refused; a larger node or a shorter ring', metric, 80));
  }
  return specs;
}

function above(id: string, description: string, metric: Metric, threshold = 0): AlarmSpec {
  return { id, description, metric, threshold, periods: 3 };
}
