import { CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elasticache from 'aws-cdk-lib/aws-elasticache';
import type { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';
import type { DataStack } from './data.ts';
import { type NetStack, REDIS_PORT } from './net.ts';
import { redisUsers, type RedisRole } from './redis-users.ts';
import type { Settings } from './settings.ts';

/** Redis: the event log, commands, leases and cursors. A primary and a replica in another zone. */
export class CacheStack extends Stack {
  /** The primary's host and port. */
  private readonly address: string;
  /** The ids of the two nodes, as metrics know them. */
  readonly nodes: string[];

  constructor(scope: Construct, id: string, props: StackProps & { settings: Settings; net: NetStack; data: DataStack }) {
    super(scope, id, props);
    const group = this.replicationGroup(props.settings, props.net, props.data);
    this.address = `${group.attrPrimaryEndPointAddress}:${group.attrPrimaryEndPointPort}`;
    this.nodes = ['001', '002'].map((number) => `${group.ref}-${number}`);
    new CfnOutput(this, 'RedisUrl', { value: `rediss://${this.address}` });
  }

  /** Where a role finds Redis, with its user; the password is in {@link DataStack.redisPasswords}. */
  url(role: RedisRole): string {
    return `rediss://${role}@${this.address}`;
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
      userGroupIds: [redisUsers(this, settings.name, data.redisPasswords).ref],
      port: REDIS_PORT,
      cacheParameterGroupName: this.parameters().ref,
      cacheSubnetGroupName: this.subnets(net).ref,
      securityGroupIds: [net.cache.securityGroupId],
      snapshotRetentionLimit: 1,
      autoMinorVersionUpgrade: true,
    });
    acknowledge(group, 'AwsSolutions-AEC5', 'The port is no secret: the group admits two groups, over TLS, with a password.');
    acknowledge(group, 'AwsSolutions-AEC6', 'Each role has a user and a password of its own, in place of one token for all.');
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
