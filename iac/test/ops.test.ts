import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { resource, resources, templates } from './deployment.ts';

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
    ['ConnectsRefused', 'Sum', 600],
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

describe('the budget', () => {
  const topic = 'arn:aws:sns:eu-west-1:123456789012:bond';
  const budget = (settings: Record<string, string>) => resource(templates(settings).ops, 'AWS::Budgets::Budget').Properties;

  it('is of the month, and tells the topic of alarms before and when it is used up', () => {
    const { Budget, NotificationsWithSubscribers: notices } = budget({ alarmTopic: topic, monthlyBudget: '350' });
    expect(Budget).toMatchObject({ BudgetType: 'COST', TimeUnit: 'MONTHLY', BudgetLimit: { Amount: 350, Unit: 'USD' } });
    const told = notices.map(({ Notification }: any) => `${Notification.NotificationType} ${Notification.Threshold}`);
    expect(told).toEqual(['ACTUAL 50', 'ACTUAL 80', 'ACTUAL 100', 'FORECASTED 100']);
    for (const { Subscribers } of notices) expect(Subscribers).toEqual([{ SubscriptionType: 'SNS', Address: topic }]);
  });

  it('is there without a topic, and not where it is 0', () => {
    expect(budget({}).Budget.BudgetLimit.Amount).toBe(200);
    expect(budget({}).NotificationsWithSubscribers).toBeUndefined();
    templates({ monthlyBudget: '0' }).ops.resourceCountIs('AWS::Budgets::Budget', 0);
  });
});
