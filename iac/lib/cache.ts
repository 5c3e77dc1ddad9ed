import { CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elasticache from 'aws-cdk-lib/aws-elasticache';
import type { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';
import type { DataStack } from './data.ts';
import { type NetStack, REDIS_PORT } from './net.ts';
import type { Settings } from './settings.ts';

/** Redis: the event log, commands, leases and cursors. A primary and a replica in another zone. */
export class CacheStack extends Stack {
  /** `rediss://` and the primary's address; the password is in {@link DataStack.redisAuth}. */
  readonly url: string;
  /** The ids of the two nodes, as metrics know them. */
  readonly nodes: string[];

  constructor(scope: Construct, id: string, props: StackProps & { settings: Settings; net: NetStack; data: DataStack }) {
    super(scope, id, props);
    const group = this.replicationGroup(props.settings, props.net, props.data);
    this.url = `rediss://${group.attrPrimaryEndPointAddress}:${group.attrPrimaryEndPointPort}`;
    this.nodes = ['001', '002'].map((number) => `${group.ref}-${number}`);
    new CfnOutput(this, 'RedisUrl', { value: this.url });
  }

  private replicationGroup(settings: Settings, net: NetStack, data: DataStack): elasticache.CfnReplicationGroup {
    const group = new elasticache.CfnReplicationGroup(this, 'Redis', {
      replicationGroupDescription: 'Bond: event log, commands, leases',
      engine: 'valkey',
      engineVersion: '8.0',
      cacheNodeType: settings.cacheNode,
      numCacheClusters: 2,
      automaticFailoverEnabled: true,
      multiAzEnabled: true,
      transitEncryptionEnabled: true,
      transitEncryptionMode: 'required',
      atRestEncryptionEnabled: true,
      authToken: data.redisAuth.secretValue.unsafeUnwrap(),
      port: REDIS_PORT,
      cacheParameterGroupName: this.parameters().ref,
      cacheSubnetGroupName: this.subnets(net).ref,
      securityGroupIds: [net.cache.securityGroupId],
      snapshotRetentionLimit: 1,
      autoMinorVersionUpgrade: true,
    });
    acknowledge(group, 'AwsSolutions-AEC5', 'The port is no secret: the group admits two groups, over TLS, with a password.');
    return group;
  }

  private parameters(): elasticache.CfnParameterGroup {
    return new elasticache.CfnParameterGroup(this, 'Parameters', {
      cacheParameterGroupFamily: 'valkey8',
      description: 'Bond: a full log refuses appends, and forgets nothing by itself',
      properties: { 'maxmemory-policy': 'noeviction' },
    });
  }

  private subnets(net: NetStack): elasticache.CfnSubnetGroup {
    const { subnetIds } = net.vpc.selectSubnets({ subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS });
    return new elasticache.CfnSubnetGroup(this, 'Subnets', { description: 'Bond: private subnets', subnetIds });
  }
}
