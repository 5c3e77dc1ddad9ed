import { CfnBudget } from 'aws-cdk-lib/aws-budgets';
import type { Construct } from 'constructs';
import type { Settings } from './settings.ts';

/** When somebody is told, in percent of the amount: of what was spent, and of what the month will come to if it goes on so. */
const NOTICES: [type: 'ACTUAL' | 'FORECASTED', percent: number][] = [
  ['ACTUAL', 50],
  ['ACTUAL', 80],
  ['ACTUAL', 100],
  ['FORECASTED', 100],
];

/**
 * What the account may cost a month. It counts the whole account: costs by tag are known only where its owner has activated the tag.
 *
 * AWS Budgets looks up to three times a day, so that it tells of a flood within hours; limits and alarms are for what is quicker.
 */
export function addBudget(scope: Construct, { monthlyBudget, alarmTopic }: Settings): void {
  if (monthlyBudget === 0) return;
  const subscribers = [{ subscriptionType: 'SNS', address: alarmTopic }];
  const notices = NOTICES.map(([notificationType, threshold]) => ({
    notification: { notificationType, threshold, thresholdType: 'PERCENTAGE', comparisonOperator: 'GREATER_THAN' },
    subscribers,
  }));
  new CfnBudget(scope, 'Budget', {
    budget: { budgetType: 'COST', timeUnit: 'MONTHLY', budgetLimit: { amount: monthlyBudget, unit: 'USD' } },
    ...(alarmTopic === '' ? {} : { notificationsWithSubscribers: notices }),
  });
}
