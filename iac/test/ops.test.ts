import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { resources, templates } from './deployment.ts';

const { ops } = templates({ name: 'Trial' });
const alarms = resources(ops, 'AWS::CloudWatch::Alarm').map(([, { Properties }]) => Properties);
const alarm = (metric: string, statistic?: string) =>
  alarms.find(({ MetricName, Statistic }) => MetricName === metric && (statistic === undefined || Statistic === statistic));

describe('alarms', () => {
  it.each([
    ['ConnectFailurePercent', 'Average', 5],
    ['DroppedPercent', 'Maximum', 1],
    ['DeliveryP95Ms', 'Maximum', 100],
    ['QueueDepth', 'Maximum', 1000],
    ['ErrorPercent', 'Average', 2],
    ['RelayLagMs', 'Maximum', 5000],
  ])('tell when %s (%s) is above %i', (name, statistic, threshold) => {
    expect(alarm(name)).toMatchObject({
      Namespace: 'Bond',
      Dimensions: [{ Name: 'Deployment', Value: 'Trial' }],
      Statistic: statistic,
      Threshold: threshold,
      ComparisonOperator: 'GreaterThanThreshold',
    });
  });

  it('tell when no ingest task leads or stands by, and when none says anything', () => {
    const below = { ComparisonOperator: 'LessThanThreshold', TreatMissingData: 'breaching' };
    expect(alarm('Leading', 'Maximum')).toMatchObject({ ...below, Threshold: 1 });
    expect(alarm('Leading', 'SampleCount')).toMatchObject({ ...below, Threshold: 7, Period: 300 });
  });

  it('watch both tables, all functions and both nodes of Redis', () => {
    const watching = (name: string) => alarms.filter(({ MetricName }) => MetricName === name).length;
    expect([watching('ReadThrottleEvents'), watching('WriteThrottleEvents')]).toEqual([2, 2]);
    expect(watching('Throttles')).toBe(5);
    expect(watching('DatabaseMemoryUsagePercentage')).toBe(2);
  });

  it('use plain metrics alone', () => {
    for (const each of alarms) expect(each.Metrics).toBeUndefined();
  });

  it('watch what README.md asks processes to tell', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    for (const { Namespace, MetricName } of alarms) {
      if (Namespace === 'Bond') expect(readme).toContain(`| \`${MetricName}\` |`);
    }
  });

  it('notify the topic they are given', () => {
    for (const each of alarms) expect(each.AlarmActions).toBeUndefined();
    const topic = 'arn:aws:sns:eu-west-1:123456789012:bond';
    for (const [, { Properties }] of resources(templates({ alarmTopic: topic }).ops, 'AWS::CloudWatch::Alarm')) {
      expect(Properties).toMatchObject({ AlarmActions: [topic], OKActions: [topic] });
    }
  });
});
