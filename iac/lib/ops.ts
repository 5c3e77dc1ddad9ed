import { CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';
import { addAlarm, alarmSpecs, type Watched } from './alarms.ts';
import { addBudget } from './budget.ts';
import { awsMetric, type BondMetric, bondMetric } from './metrics.ts';
import type { Settings } from './settings.ts';

/** What is watched: alarms, what it may cost, and one dashboard. */
export class OpsStack extends Stack {
  constructor(
    scope: Construct,
    id: string,
    private readonly props: StackProps & Watched & { settings: Settings },
  ) {
    super(scope, id, props);
    const alarms = alarmSpecs(props).map((spec) => addAlarm(this, spec));
    this.notify(alarms);
    addBudget(this, props.settings);
    const dashboard = this.dashboard(alarms);
    new CfnOutput(this, 'DashboardName', { value: dashboard.dashboardName });
  }

  private notify(alarms: cloudwatch.Alarm[]): void {
    const { alarmTopic } = this.props.settings;
    if (alarmTopic === '') return;
    const action = new SnsAction(Topic.fromTopicArn(this, 'Topic', alarmTopic));
    for (const alarm of alarms) {
      alarm.addAlarmAction(action);
      alarm.addOkAction(action);
    }
  }

  private dashboard(alarms: cloudwatch.Alarm[]): cloudwatch.Dashboard {
    const dashboard = new cloudwatch.Dashboard(this, 'Dashboard');
    dashboard.addWidgets(new cloudwatch.AlarmStatusWidget({ title: 'Alarms', alarms, width: 24, height: 4 }));
    dashboard.addWidgets(
      this.graph('Delivered', ['Events', 'Sum'], ['PostsThrottled', 'Sum'], ['PostsSlow', 'Sum']),
      this.graph('Latency and lag, ms', ['DeliveryP95Ms', 'Maximum'], ['RelayLagMs', 'Maximum']),
      this.graph('Connections', ['Connections', 'Maximum'], ['QueueDepth', 'Maximum']),
    );
    dashboard.addWidgets(
      this.graph('Failures, %', ['ConnectFailurePercent', 'Average'], ['ErrorPercent', 'Average'], ['DroppedPercent', 'Maximum']),
      this.functions('Function duration, p95', 'Duration', 'p95'),
      this.functions('Functions at once', 'ConcurrentExecutions', 'Maximum'),
    );
    dashboard.addWidgets(this.cache('Redis memory, %', 'DatabaseMemoryUsagePercentage'), this.cache('Redis CPU, %', 'EngineCPUUtilization'));
    return dashboard;
  }

  private graph(title: string, ...metrics: [BondMetric, string][]): cloudwatch.GraphWidget {
    const { deployment } = this.props;
    return widget(title, metrics.map(([name, statistic]) => bondMetric(deployment, name, statistic)));
  }

  private functions(title: string, metric: string, statistic: string): cloudwatch.GraphWidget {
    const names = Object.values(this.props.realtime.functions).map(({ handler }) => handler.functionName);
    return widget(title, names.map((FunctionName) => awsMetric('Lambda', metric, statistic, { FunctionName })));
  }

  private cache(title: string, metric: string): cloudwatch.GraphWidget {
    const { nodes } = this.props.cache;
    return widget(title, nodes.map((CacheClusterId) => awsMetric('ElastiCache', metric, 'Maximum', { CacheClusterId })));
  }
}

function widget(title: string, left: cloudwatch.IMetric[]): cloudwatch.GraphWidget {
  return new cloudwatch.GraphWidget({ title, left, width: 8 });
}
