import { existsSync } from 'node:fs';
import path from 'node:path';
import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';
import type { NetStack } from './net.ts';
import type { Settings } from './settings.ts';

/** The functions, by the name of their binary and their zip. */
export type FunctionName = 'api' | 'ws_connect' | 'ws_disconnect' | 'ws_message' | 'fanout';

/** What tells one function from another. */
export interface FunctionProps {
  name: FunctionName;
  description: string;
  settings: Settings;
  /** In MiB; 1769 are one vCPU (Lambda developer guide, read 2026-11). */
  memory: number;
  timeout: Duration;
  environment: Record<string, string>;
  /** What it may do, besides writing its log. */
  statements: iam.PolicyStatement[];
  /** The network it runs in; outside of any without. */
  net?: NetStack;
  /** How many may run at once, reserved for it and at most; 0: as many as the account allows. */
  reserved?: number | undefined;
}

/** One function with a role and a log group of its own. */
export class BondFunction extends Construct {
  readonly handler: lambda.Function;
  readonly role: iam.Role;

  constructor(scope: Construct, id: string, props: FunctionProps) {
    super(scope, id);
    const log = this.log(props.settings);
    this.role = this.assumed(props, log);
    this.handler = new lambda.Function(this, 'Function', {
      description: props.description,
      code: lambda.Code.fromAsset(zip(props)),
      runtime: lambda.Runtime.PROVIDED_AL2023,
      architecture: lambda.Architecture.ARM_64,
      handler: 'bootstrap',
      memorySize: props.memory,
      timeout: props.timeout,
      environment: props.environment,
      logGroup: log,
      role: this.role,
      ...(props.reserved ? { reservedConcurrentExecutions: props.reserved } : {}),
      ...(props.net ? placement(props.net) : {}),
    });
  }

  private log(settings: Settings): logs.LogGroup {
    return new logs.LogGroup(this, 'Log', { retention: settings.logDays, removalPolicy: RemovalPolicy.DESTROY });
  }

  private assumed(props: FunctionProps, log: logs.LogGroup): iam.Role {
    const role = new iam.Role(this, 'Role', { assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com') });
    role.addToPolicy(
      new iam.PolicyStatement({ actions: ['logs:CreateLogStream', 'logs:PutLogEvents'], resources: [log.logGroupArn] }),
    );
    if (props.net) interfaces(role);
    props.statements.forEach((statement) => role.addToPolicy(statement));
    return role;
  }
}

function zip({ name, settings }: FunctionProps): string {
  const file = path.join(settings.zips, `${name}.zip`);
  if (!existsSync(file)) throw new Error(`no zip of the function ${name}: run \`make package\`, which writes ${file}`);
  return file;
}

function placement(net: NetStack): Partial<lambda.FunctionProps> {
  return {
    vpc: net.vpc,
    vpcSubnets: { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
    securityGroups: [net.functions],
    ipv6AllowedForDualStack: true,
  };
}

const INTERFACE_ACTIONS = [
  'ec2:AssignPrivateIpAddresses',
  'ec2:CreateNetworkInterface',
  'ec2:DeleteNetworkInterface',
  'ec2:DescribeNetworkInterfaces',
  'ec2:DescribeSubnets',
  'ec2:UnassignPrivateIpAddresses',
];

/** Lambda attaches functions to the network by their own role; their code is denied what Lambda needs for it. */
function interfaces(role: iam.Role): void {
  role.addToPolicy(new iam.PolicyStatement({ actions: INTERFACE_ACTIONS, resources: ['*'] }));
  const { partition, region, account } = Stack.of(role);
  role.addToPolicy(
    new iam.PolicyStatement({
      effect: iam.Effect.DENY,
      actions: INTERFACE_ACTIONS,
      resources: ['*'],
      conditions: { ArnLike: { 'lambda:SourceFunctionArn': `arn:${partition}:lambda:${region}:${account}:function:*` } },
    }),
  );
  acknowledge(role, 'AwsSolutions-IAM5[Resource::*]', 'Network interfaces do not exist before Lambda makes them; the code is denied these.');
}
