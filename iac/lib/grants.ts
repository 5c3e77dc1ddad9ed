import { type CfnElement, Stack } from 'aws-cdk-lib';
import type { IApi } from 'aws-cdk-lib/aws-apigatewayv2';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import { type IRole, Policy, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { ISecret } from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';

/** Actions on one table. */
export function onTable(table: ITable, ...actions: string[]): PolicyStatement {
  return new PolicyStatement({ actions: actions.map((action) => `dynamodb:${action}`), resources: [table.tableArn] });
}

/** Reading secrets. Their keys are the account's own, which need no grant. */
export function reading(...secrets: ISecret[]): PolicyStatement {
  return new PolicyStatement({
    actions: ['secretsmanager:GetSecretValue'],
    resources: secrets.map((secret) => secret.secretArn),
  });
}

/** Which calls to a WebSocket API's connections. */
export interface ConnectionCalls {
  api: IApi;
  stage: string;
  verbs: ('POST' | 'GET' | 'DELETE')[];
}

/** Lets `role` make these calls to the connections of one stage, by a policy of its own. */
export function manageConnections(scope: Construct, id: string, role: IRole, { api, stage, verbs }: ConnectionCalls): void {
  const base = Stack.of(scope).formatArn({ service: 'execute-api', resource: api.apiId });
  const paths = verbs.map((verb) => `${stage}/${verb}/@connections/*`);
  const resources = paths.map((path) => `${base}/${path}`);
  const statement = new PolicyStatement({ actions: ['execute-api:ManageConnections'], resources });
  const policy = new Policy(scope, id, { roles: [role], statements: [statement] });
  const found = `arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:${nameIn(Stack.of(scope), api)}`;
  for (const path of paths) {
    acknowledge(policy, `AwsSolutions-IAM5[Resource::${found}/${path}]`, 'Connections of this one stage: their ids are made as clients come.');
  }
}

/** How cdk-nag writes the id of `api` in a finding of `stack`. */
function nameIn(stack: Stack, api: IApi): string {
  const home = Stack.of(api);
  if (home === stack) return `<${stack.getLogicalId(api.node.defaultChild as CfnElement)}>`;
  return stack.resolve(home.exportValue(api.apiId))['Fn::ImportValue'];
}
