import { Duration } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';

/** Where Bond's processes put their metrics, as log lines in the embedded metric format. */
export const NAMESPACE = 'Bond';

/** What Bond's processes tell, by who tells it. README.md says what each means. */
export type BondMetric =
  | 'ConnectFailurePercent'
  | 'ConnectsRefused'
  | 'ErrorPercent'
  | 'DroppedPercent'
  | 'DeliveryP95Ms'
  | 'QueueDepth'
  | 'RelayLagMs'
  | 'Leading'
  | 'Connections'
  | 'Events'
  | 'PostsThrottled'
  | 'PostsSlow';

/** One of Bond's metrics over a minute. Its only dimension is the deployment's name. */
export function bondMetric(deployment: string, metricName: BondMetric, statistic: string, period = Duration.minutes(1)): Metric {
  return new Metric({ namespace: NAMESPACE, metricName, statistic, period, dimensionsMap: { Deployment: deployment } });
}

/** A metric of an AWS service over a minute. */
export function awsMetric(service: string, metricName: string, statistic: string, dimensionsMap: Record<string, string>): Metric {
  return new Metric({ namespace: `AWS/${service}`, metricName, statistic, period: Duration.minutes(1), dimensionsMap });
}
