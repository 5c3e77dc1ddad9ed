import type { Template } from 'aws-cdk-lib/assertions';
import { describe, expect, it } from 'vitest';
import { resources, templates } from './deployment.ts';

const { realtime, fargate } = templates();

interface Statement {
  Effect: string;
  Action: string | string[];
  Resource: unknown;
}

/** What the role may do: every allowed action, with what it may do it to. */
function allowed(template: Template, role: string): Record<string, string> {
  const policies = resources(template, 'AWS::IAM::Policy').filter(([, { Properties }]) =>
    Properties.Roles.some(({ Ref }: { Ref: string }) => Ref.startsWith(role)),
  );
  const statements: Statement[] = policies.flatMap(([, { Properties }]) => Properties.PolicyDocument.Statement);
  const pairs = statements
    .filter(({ Effect }) => Effect === 'Allow')
    .flatMap(({ Action, Resource }) => [Action].flat().map((action): [string, string] => [`${action} ${target(Resource)}`, JSON.stringify(Resource)]));
  return Object.fromEntries(pairs);
}

/** What a resource is, in one word. */
function target(resource: unknown): string {
  const text = JSON.stringify(resource);
  const known = ['Streams', 'Connections', 'TokenKeys', 'ApiKeys', 'IssuerKeys', 'RedisIngest', 'RedisEdge', 'RedisApi', 'RedisFunctions', 'FanoutFunction', 'Log', '@connections', 'Images'];
  return text === '"*"' ? '*' : known.filter((name) => text.includes(name)).join('+');
}

const logs = ['logs:CreateLogStream Log', 'logs:PutLogEvents Log'];
const network = ['AssignPrivateIpAddresses', 'CreateNetworkInterface', 'DeleteNetworkInterface', 'DescribeNetworkInterfaces', 'DescribeSubnets', 'UnassignPrivateIpAddresses'].map(
  (action) => `ec2:${action} *`,
);
const secrets = (redis: string) => `secretsmanager:GetSecretValue TokenKeys+ApiKeys+IssuerKeys+${redis}`;

describe('each may do what it must, and nothing else', () => {
  it.each([
    [
      'Api',
      [...logs, ...network, ...['DeleteItem', 'GetItem', 'PutItem', 'Query'].map((action) => `dynamodb:${action} Streams`), secrets('RedisApi')],
    ],
    ['Connect', [...logs, ...network, 'dynamodb:GetItem Streams', 'dynamodb:Query Streams', 'dynamodb:PutItem Connections', secrets('RedisFunctions')]],
    ['Disconnect', [...logs, ...network, 'dynamodb:DeleteItem Connections', 'secretsmanager:GetSecretValue RedisFunctions']],
    [
      'Message',
      [...logs, ...network, 'dynamodb:GetItem Connections', 'dynamodb:PutItem Connections', secrets('RedisFunctions')],
    ],
    ['Fanout', [...logs, 'execute-api:ManageConnections @connections']],
  ])('%s', (role, actions) => {
    expect(Object.keys(allowed(realtime, `${role}Role`)).sort()).toEqual([...actions].sort());
  });

  it('ingest', () => {
    expect(Object.keys(allowed(fargate, 'IngestTaskRole')).sort()).toEqual(
      [
        'dynamodb:DeleteItem Streams',
        'dynamodb:GetItem Streams',
        'dynamodb:Query Streams',
        'dynamodb:DeleteItem Connections',
        'dynamodb:Query Connections',
        'execute-api:ManageConnections @connections',
        'lambda:InvokeFunction FanoutFunction',
        'secretsmanager:GetSecretValue ApiKeys+RedisIngest',
      ].sort(),
    );
  });

  it('posting is for fan-out, asking for ingest, on one stage of one API', () => {
    const posts = allowed(realtime, 'FanoutRole')['execute-api:ManageConnections @connections']!;
    const asks = allowed(fargate, 'IngestTaskRole')['execute-api:ManageConnections @connections']!;
    const verbs = (text: string) => [...text.matchAll(/\/v1\/([A-Z*]+)\/@connections\/\*/g)].map(([, verb]) => verb).sort();
    expect(verbs(posts)).toEqual(['DELETE', 'POST']);
    expect(verbs(asks)).toEqual(['DELETE', 'GET']);
    for (const text of [posts, asks]) expect(text).toContain('WebSocketsApi');
  });

  it('no code may touch network interfaces, which Lambda itself does by the same role', () => {
    const denied = resources(realtime, 'AWS::IAM::Policy')
      .flatMap(([, { Properties }]) => Properties.PolicyDocument.Statement)
      .filter(({ Effect }: Statement) => Effect === 'Deny');
    expect(denied).toHaveLength(4);
    for (const statement of denied) {
      expect(statement.Action.map((action: string) => `${action} *`)).toEqual(network);
      expect(JSON.stringify(statement.Condition.ArnLike)).toContain('lambda:SourceFunctionArn');
    }
  });

  it("no role has a managed policy but API Gateway's for logs", () => {
    for (const template of [realtime, fargate]) {
      for (const [id, { Properties }] of resources(template, 'AWS::IAM::Role')) {
        const managed = Properties.ManagedPolicyArns ?? [];
        expect(managed.length, id).toBe(id.startsWith('WebSocketsLogRole') ? 1 : 0);
      }
    }
  });
});
