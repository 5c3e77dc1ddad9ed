import { CfnOutput, CfnParameter, Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';
import type { CacheStack } from './cache.ts';
import type { DataStack } from './data.ts';
import { manageConnections, onTable, reading } from './grants.ts';
import type { NetStack } from './net.ts';
import type { RealtimeStack } from './realtime.ts';
import type { ProcessSetting, Settings } from './settings.ts';

/** What ingest is given. */
export interface FargateProps extends StackProps {
  settings: Settings;
  net: NetStack;
  data: DataStack;
  cache: CacheStack;
  realtime: RealtimeStack;
}

/** The user and group of the image. */
const USER = '65532:65532';

const SETTINGS: ProcessSetting[] = [
  'BOND_RING_SECONDS',
  'BOND_RING_MIB',
  'BOND_MAX_LAG_MS',
  'BOND_FEED_SYMBOLS',
  'BOND_HEARTBEAT_SECONDS',
  'BOND_PROBE_SECONDS',
  'BOND_KEYS_SECONDS',
  'BOND_LOG',
  'BOND_LOG_FORMAT',
];

/** Ingest and relay: two tasks, one of which leads and one of which stands by. */
export class FargateStack extends Stack {
  readonly service: ecs.FargateService;
  readonly task: ecs.FargateTaskDefinition;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: FargateProps,
  ) {
    super(scope, id, props);
    const cluster = this.cluster();
    this.task = this.definition();
    this.container();
    this.grant();
    this.service = this.run(cluster);
    new CfnOutput(this, 'ClusterName', { value: cluster.clusterName });
    new CfnOutput(this, 'ServiceName', { value: this.service.serviceName });
  }

  private cluster(): ecs.Cluster {
    const cluster = new ecs.Cluster(this, 'Cluster', {
      vpc: this.props.net.vpc,
      containerInsightsV2: ecs.ContainerInsights.DISABLED,
    });
    acknowledge(cluster, 'AwsSolutions-ECS4', 'Ingest tells by its own metrics whether it leads, lags or is missing; Insights would bill the same again.');
    return cluster;
  }

  private definition(): ecs.FargateTaskDefinition {
    const { ingestCpu, ingestMemory } = this.props.settings;
    return new ecs.FargateTaskDefinition(this, 'Ingest', {
      cpu: ingestCpu,
      memoryLimitMiB: ingestMemory,
      runtimePlatform: {
        cpuArchitecture: ecs.CpuArchitecture.ARM64,
        operatingSystemFamily: ecs.OperatingSystemFamily.LINUX,
      },
    });
  }

  private container(): void {
    const tag = new CfnParameter(this, 'ImageTag', {
      default: this.props.settings.imageTag,
      description: 'The tag of the image in the repository of the data stack',
    });
    const container = this.task.addContainer('ingest', {
      image: ecs.ContainerImage.fromEcrRepository(this.props.data.images, tag.valueAsString),
      command: ['ingest'],
      environment: this.variables(),
      user: USER,
      readonlyRootFilesystem: true,
      stopTimeout: Duration.seconds(30),
      logging: ecs.LogDriver.awsLogs({ logGroup: this.log(), streamPrefix: 'ingest' }),
      healthCheck: {
        command: ['CMD', '/bond-cloud', 'healthy'],
        interval: Duration.seconds(10),
        timeout: Duration.seconds(5),
        retries: 3,
        startPeriod: Duration.seconds(30),
      },
    });
    container.addUlimits({ name: ecs.UlimitName.NOFILE, softLimit: 65_536, hardLimit: 65_536 });
    acknowledge(this.task, 'AwsSolutions-ECS2', 'The environment names tables, URLs and secrets; the task reads the secrets themselves when it runs.');
  }

  private log(): logs.LogGroup {
    return new logs.LogGroup(this, 'Log', {
      retention: this.props.settings.logDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
  }

  private variables(): Record<string, string> {
    const { settings, data, cache, realtime } = this.props;
    const { stage } = realtime.webSockets;
    return {
      BOND_DEPLOYMENT: settings.name,
      REDIS_URL: cache.url('ingest'),
      BOND_REDIS_AUTH_SECRET: data.redisPasswords.ingest.secretArn,
      BOND_API_KEYS_SECRET: data.apiKeys.secretArn,
      BOND_TABLE_STREAMS: data.streams.tableName,
      BOND_TABLE_CONNECTIONS: data.connections.tableName,
      BOND_WS_CALLBACK_URL: stage.callbackUrl,
      BOND_FANOUT_FUNCTION: realtime.functions.fanout.handler.functionArn,
      ...Object.fromEntries(SETTINGS.map((name) => [name, settings.processes[name]])),
    };
  }

  private grant(): void {
    const { data, realtime } = this.props;
    const { api, stage } = realtime.webSockets;
    const { functionArn } = realtime.functions.fanout.handler;
    const statements = [
      onTable(data.streams, 'DeleteItem', 'GetItem', 'Query'),
      onTable(data.connections, 'DeleteItem', 'Query'),
      reading(data.redisPasswords.ingest, data.apiKeys),
      new iam.PolicyStatement({ actions: ['lambda:InvokeFunction'], resources: [functionArn] }),
    ];
    statements.forEach((statement) => this.task.addToTaskRolePolicy(statement));
    manageConnections(this, 'IngestConnections', this.task.taskRole, { api, stage: stage.stageName, verbs: ['GET', 'DELETE'] });
    acknowledge(this.task.obtainExecutionRole(), 'AwsSolutions-IAM5[Resource::*]', 'A registry token is of the account: ECR takes no narrower resource.');
  }

  private run(cluster: ecs.Cluster): ecs.FargateService {
    return new ecs.FargateService(this, 'Service', {
      cluster,
      taskDefinition: this.task,
      desiredCount: 2,
      // Never more than one that leads and one that stands by: they are replaced one after the other.
      minHealthyPercent: 50,
      maxHealthyPercent: 100,
      circuitBreaker: { enable: true, rollback: true },
      assignPublicIp: true,
      vpcSubnets: { subnetType: ec2.SubnetType.PUBLIC },
      securityGroups: [this.props.net.ingest],
      enableECSManagedTags: true,
      propagateTags: ecs.PropagatedTagSource.SERVICE,
    });
  }
}
