import { App, type AppProps, Tags, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { CacheStack } from './cache.ts';
import { DataStack } from './data.ts';
import { FargateStack } from './fargate.ts';
import { NetStack } from './net.ts';
import { OpsStack } from './ops.ts';
import { RealtimeStack } from './realtime.ts';
import { readSettings } from './settings.ts';

/** The whole of Bond on AWS: six stacks that name neither account nor region. */
export function bondApp(props?: AppProps) {
  const app = new App(props);
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  const settings = readSettings(app);
  const { name } = settings;
  const described = (what: string) => ({ settings, description: `Bond: ${what}` });

  const net = new NetStack(app, `${name}Net`, described('network'));
  const data = new DataStack(app, `${name}Data`, described('tables, secrets, images'));
  const cache = new CacheStack(app, `${name}Cache`, { ...described('Redis'), net, data });
  const realtime = new RealtimeStack(app, `${name}Realtime`, { ...described('APIs and functions'), net, data, cache });
  const fargate = new FargateStack(app, `${name}Fargate`, { ...described('ingest'), net, data, cache, realtime });
  const ops = new OpsStack(app, `${name}Ops`, { ...described('alarms and dashboard'), deployment: name, data, cache, realtime });

  Tags.of(app).add('Project', 'Bond');
  Tags.of(app).add('Deployment', name);
  return { app, net, data, cache, realtime, fargate, ops };
}
