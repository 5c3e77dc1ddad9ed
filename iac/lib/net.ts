import { Stack, type StackProps } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import type { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';

/** The port of Redis. */
export const REDIS_PORT = 6379;

/**
 * The network: two zones, each with a public subnet for ingest and a private one for functions and Redis.
 *
 * There is no NAT gateway. Functions reach DynamoDB through its gateway endpoint and Secrets Manager over IPv6, whose ordinary host
 * name has addresses of both kinds (Secrets Manager user guide, "IPv4 and IPv6 access", read 2026-11). Ingest tasks have public
 * addresses and admit nobody.
 */
export class NetStack extends Stack {
  readonly vpc: ec2.Vpc;
  /** Of the functions that talk to Redis. */
  readonly functions: ec2.SecurityGroup;
  /** Of the ingest tasks. */
  readonly ingest: ec2.SecurityGroup;
  /** Of Redis. */
  readonly cache: ec2.SecurityGroup;

  constructor(scope: Construct, id: string, props: StackProps) {
    super(scope, id, props);
    this.vpc = this.network();
    this.functions = this.group('Functions', 'Functions: to Redis and HTTPS', false);
    this.ingest = this.group('Ingest', 'Ingest: to anywhere, from nowhere', true);
    this.cache = this.group('Cache', 'Redis: from functions and ingest', false);
    this.rules();
  }

  private network(): ec2.Vpc {
    const vpc = new ec2.Vpc(this, 'Vpc', {
      ipProtocol: ec2.IpProtocol.DUAL_STACK,
      maxAzs: 2,
      natGateways: 0,
      // A custom resource would strip the default group, which nothing here uses.
      restrictDefaultSecurityGroup: false,
      subnetConfiguration: [
        { name: 'Public', subnetType: ec2.SubnetType.PUBLIC, cidrMask: 24, mapPublicIpOnLaunch: false },
        { name: 'Private', subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS, cidrMask: 20 },
      ],
    });
    vpc.addGatewayEndpoint('DynamoDb', { service: ec2.GatewayVpcEndpointAwsService.DYNAMODB });
    acknowledge(vpc, 'AwsSolutions-VPC7', 'Flow logs bill every flow of a feed; the groups admit only Redis from two groups of our own.');
    return vpc;
  }

  private group(id: string, description: string, anywhere: boolean): ec2.SecurityGroup {
    return new ec2.SecurityGroup(this, id, {
      vpc: this.vpc,
      description,
      allowAllOutbound: anywhere,
      allowAllIpv6Outbound: anywhere,
    });
  }

  private rules(): void {
    const redis = ec2.Port.tcp(REDIS_PORT);
    this.cache.connections.allowFrom(this.functions, redis, 'Functions');
    this.cache.connections.allowFrom(this.ingest, redis, 'Ingest');
    const https = ec2.Port.tcp(443);
    this.functions.addEgressRule(ec2.Peer.anyIpv6(), https, 'Secrets Manager');
    // There is no way out over IPv4 but the endpoint, whose prefix list has another id in every region.
    this.functions.addEgressRule(ec2.Peer.anyIpv4(), https, 'DynamoDB through its endpoint');
  }
}
