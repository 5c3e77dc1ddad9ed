import { readFileSync } from 'node:fs';
import { AwsSolutionsChecks } from 'cdk-nag';
import { describe, expect, it } from 'vitest';
import { app, type Resource, resources, templates } from './deployment.ts';

describe('the whole', () => {
  const { app: whole } = app();
  const assembly = whole.synth();

  it('is made without a warning or error', () => {
    expect(assembly.stacks.flatMap((stack) => stack.messages)).toEqual([]);
  });

  it('names neither account nor region', () => {
    for (const stack of assembly.stacks) expect(stack.environment).toMatchObject({ account: 'unknown-account', region: 'unknown-region' });
  });

  it('passes the checks of AwsSolutions', () => {
    expect(new AwsSolutionsChecks(whole).validateScope(whole).violations).toEqual([]);
  });

  it('is tagged wherever there are tags', () => {
    const all = assembly.stacks.flatMap((stack) => Object.values(stack.template.Resources as Record<string, Resource>));
    const some = all.filter(({ Type }) => ['AWS::DynamoDB::Table', 'AWS::Lambda::Function', 'AWS::ECS::Service'].includes(Type));
    expect(some).toHaveLength(8);
    for (const { Properties } of some) {
      expect(Properties.Tags).toEqual([
        { Key: 'Deployment', Value: 'Bond' },
        { Key: 'Project', Value: 'Bond' },
      ]);
    }
  });

  it('needs no image to be built here', () => {
    for (const { id } of assembly.stacks) {
      const text = readFileSync(`${assembly.directory}/${id}.assets.json`, 'utf8');
      expect(JSON.parse(text).dockerImages).toEqual({});
    }
  });
});

describe('logs', () => {
  it('are kept as long as set, each of them', () => {
    const all = Object.values(templates({ logDays: '7' })).flatMap((template) => resources(template, 'AWS::Logs::LogGroup'));
    expect(all).toHaveLength(8);
    for (const [, { Properties }] of all) expect(Properties.RetentionInDays).toBe(7);
  });
});

describe('outputs', () => {
  const { realtime, data, fargate } = templates();

  it('say where Bond is', () => {
    expect(Object.keys(realtime.findOutputs('*'))).toEqual(
      expect.arrayContaining(['RestUrl', 'WebSocketUrl', 'CallbackUrl', 'ApiFunctionName', 'FanoutFunctionName']),
    );
    expect(Object.keys(data.findOutputs('*'))).toEqual(
      expect.arrayContaining(['StreamsTable', 'ConnectionsTable', 'TokenKeysSecret', 'ApiKeysSecret', 'IssuerKeysSecret', 'RedisIngestSecret', 'RedisApiSecret', 'RedisFunctionsSecret', 'RedisEdgeSecret', 'ImageRepository']),
    );
    expect(Object.keys(fargate.findOutputs('*'))).toEqual(expect.arrayContaining(['ClusterName', 'ServiceName']));
  });

  it('give URLs as clients use them', () => {
    const url = (name: string) => JSON.stringify(realtime.findOutputs(name)[name]!['Value']);
    expect(url('WebSocketUrl')).toMatch(/^\{"Fn::Join":\["",\["wss:\/\/".*\/v1"\]\]\}$/);
    expect(url('CallbackUrl')).toMatch(/^\{"Fn::Join":\["",\["https:\/\/".*\/v1"\]\]\}$/);
    expect(url('RestUrl')).toContain('ApiEndpoint');
  });
});

describe('settings', () => {
  it('are all checked at once', () => {
    expect(() => app({ nam: 'x', retain: 'yes', fanoutConcurrency: 'many', logDays: '8', alarmTopic: 'bond' })).toThrow(
      /no such setting: bond:nam\n.*retain is true or false: yes\n.*fanoutConcurrency is a whole number: many\n.*logDays.*: 8\n.*alarmTopic.*: bond$/s,
    );
  });

  it('reach the processes', () => {
    const { realtime, fargate } = templates({ BOND_MAX_LAG_MS: '400', BOND_MAX_STREAMS: '7' });
    const texts = [realtime, fargate].map((template) => JSON.stringify(template.toJSON()));
    expect(texts[0]).toContain('"BOND_MAX_STREAMS":"7"');
    expect(texts[1]).toContain('{"Name":"BOND_MAX_LAG_MS","Value":"400"}');
  });

  it('ask for the zips that are missing', () => {
    expect(() => app({ zips: '/nowhere' })).toThrow(/no zip of the function api: run `make package`/);
  });

  it('deploy the release that the binaries are of', () => {
    const cargo = readFileSync(new URL('../../Cargo.toml', import.meta.url), 'utf8');
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
    expect(cargo).toContain(`version = "${version}"`);
  });
});
