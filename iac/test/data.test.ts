import { describe, expect, it } from 'vitest';
import { NO_KEYS } from '../lib/data.ts';
import { resource, resources, templates } from './deployment.ts';

const { data } = templates();

describe('tables', () => {
  it.each(['Streams', 'Connections'])('%s expire items, can be restored, and are encrypted and protected', (name) => {
    const table = resource(data, 'AWS::DynamoDB::Table', name);
    expect(table.Properties).toMatchObject({
      BillingMode: 'PAY_PER_REQUEST',
      TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
      SSESpecification: { SSEEnabled: true },
      DeletionProtectionEnabled: true,
      KeySchema: [
        { AttributeName: 'pk', KeyType: 'HASH' },
        { AttributeName: 'sk', KeyType: 'RANGE' },
      ],
    });
    expect(table.Properties.GlobalSecondaryIndexes).toBeUndefined();
    expect(table.DeletionPolicy).toBe('Retain');
  });

  it('go with their stack where nothing is to be kept', () => {
    const trial = templates({ retain: 'false' }).data;
    for (const type of ['AWS::DynamoDB::Table', 'AWS::SecretsManager::Secret', 'AWS::ECR::Repository']) {
      resources(trial, type).forEach(([, kept]) => expect(kept.DeletionPolicy).toBe('Delete'));
    }
    expect(resource(trial, 'AWS::DynamoDB::Table', 'Streams').Properties.DeletionProtectionEnabled).toBe(false);
  });
});

describe('secrets', () => {
  it('generate the token key where the processes look for it', () => {
    const generate = resource(data, 'AWS::SecretsManager::Secret', 'TokenKeys').Properties.GenerateSecretString;
    expect(generate).toMatchObject({ GenerateStringKey: 'current', SecretStringTemplate: '{}', ExcludePunctuation: true });
    expect(generate.PasswordLength).toBeGreaterThanOrEqual(32);
  });

  it.each(['Ingest', 'Edge', 'Api', 'Functions'])('generate a password that Redis takes: %s', (role) => {
    const generate = resource(data, 'AWS::SecretsManager::Secret', `Redis${role}`).Properties.GenerateSecretString;
    expect(generate.ExcludePunctuation).toBe(true);
    expect(generate.PasswordLength).toBeGreaterThanOrEqual(32);
    expect(generate.PasswordLength).toBeLessThanOrEqual(128);
  });

  it('begin without any API key', () => {
    const text = resource(data, 'AWS::SecretsManager::Secret', 'ApiKeys').Properties.SecretString;
    expect(text).toBe(NO_KEYS);
    expect(JSON.parse(text)).toMatchObject({ version: 1, keys: [] });
    expect(Buffer.from(JSON.parse(text).hash_key, 'base64url')).toHaveLength(32);
  });

  it('trust no issuer of tokens for topics until one is named', () => {
    expect(resource(data, 'AWS::SecretsManager::Secret', 'IssuerKeys').Properties.SecretString).toBe('{}');
  });

  it('survive their stack', () => {
    const all = resources(data, 'AWS::SecretsManager::Secret');
    expect(all).toHaveLength(7);
    all.forEach(([, secret]) => expect(secret.DeletionPolicy).toBe('Retain'));
  });
});

describe('images', () => {
  it('keep what a tag means, and are scanned', () => {
    expect(resource(data, 'AWS::ECR::Repository').Properties).toMatchObject({
      ImageTagMutability: 'IMMUTABLE',
      ImageScanningConfiguration: { ScanOnPush: true },
    });
  });
});
