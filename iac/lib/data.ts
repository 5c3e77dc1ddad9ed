import { CfnOutput, RemovalPolicy, SecretValue, Stack, type StackProps } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import * as ecr from 'aws-cdk-lib/aws-ecr';
import * as secrets from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';
import { acknowledge } from './acknowledge.ts';
import { REDIS_ROLES, type RedisRole } from './redis-users.ts';
import type { Settings } from './settings.ts';

/** A file of API keys without keys: whoever calls is refused until `bond key` has made one. Its hash key is replaced with it. */
export const NO_KEYS = JSON.stringify({ version: 1, hash_key: 'A'.repeat(43), keys: [] });

/** What outlives a deployment: tables, secrets, images. */
export class DataStack extends Stack {
  /** Desired streams and the claims of their owners. */
  readonly streams: dynamodb.Table;
  /** Who is connected, keyed by lane. */
  readonly connections: dynamodb.Table;
  /** `{"current": …, "previous": …}`: what signs tokens of streams. */
  readonly tokenKeys: secrets.Secret;
  /** The text of `bond key`'s file: hashes of API keys. */
  readonly apiKeys: secrets.Secret;
  /** `{"secret": …, "previous": …, "jwks": …}`: what checks tokens for topics, of an issuer that is not Bond. */
  readonly issuerKeys: secrets.Secret;
  /** The password of each role's user of Redis. */
  readonly redisPasswords: Record<RedisRole, secrets.Secret>;
  /** Images of `bond-cloud`. */
  readonly images: ecr.Repository;

  constructor(
    scope: Construct,
    id: string,
    private readonly props: StackProps & { settings: Settings },
  ) {
    super(scope, id, props);
    this.streams = this.table('Streams');
    this.connections = this.table('Connections');
    this.tokenKeys = this.generated('TokenKeys', 'Bond: signs tokens of streams', {
      secretStringTemplate: '{}',
      generateStringKey: 'current',
      passwordLength: 64,
    });
    this.apiKeys = this.secret('ApiKeys', {
      description: 'Bond: hashes of API keys, the text of keys.json',
      secretStringValue: SecretValue.unsafePlainText(NO_KEYS),
    });
    this.issuerKeys = this.secret('IssuerKeys', {
      description: 'Bond: what checks JWTs for topics; empty until there is an issuer',
      secretStringValue: SecretValue.unsafePlainText('{}'),
    });
    const passwords = REDIS_ROLES.map((role) => [role, this.password(role)]);
    this.redisPasswords = Object.fromEntries(passwords) as Record<RedisRole, secrets.Secret>;
    this.images = this.repository();
    this.outputs();
  }

  private removal(): RemovalPolicy {
    return this.props.settings.retain ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY;
  }

  private table(id: string): dynamodb.Table {
    return new dynamodb.Table(this, id, {
      partitionKey: { name: 'pk', type: dynamodb.AttributeType.STRING },
      sortKey: { name: 'sk', type: dynamodb.AttributeType.STRING },
      billingMode: dynamodb.BillingMode.PAY_PER_REQUEST,
      timeToLiveAttribute: 'ttl',
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      encryption: dynamodb.TableEncryption.AWS_MANAGED,
      deletionProtection: this.props.settings.retain,
      removalPolicy: this.removal(),
    });
  }

  private generated(id: string, description: string, generate: secrets.SecretStringGenerator): secrets.Secret {
    return this.secret(id, { description, generateSecretString: { excludePunctuation: true, ...generate } });
  }

  private password(role: RedisRole): secrets.Secret {
    return this.generated(redisSecret(role), `Bond: the password of Redis of ${role}`, { passwordLength: 64 });
  }

  private secret(id: string, props: secrets.SecretProps): secrets.Secret {
    const secret = new secrets.Secret(this, id, { ...props, removalPolicy: this.removal() });
    acknowledge(secret, 'AwsSolutions-SMG4', 'Rotated by its operator, with two keys live at once (docs/deploy.md).');
    return secret;
  }

  private repository(): ecr.Repository {
    return new ecr.Repository(this, 'Images', {
      imageTagMutability: ecr.TagMutability.IMMUTABLE,
      imageScanOnPush: true,
      lifecycleRules: [{ description: 'The latest twenty, to roll back to', maxImageCount: 20 }],
      removalPolicy: this.removal(),
      emptyOnDelete: !this.props.settings.retain,
    });
  }

  private outputs(): void {
    new CfnOutput(this, 'StreamsTable', { value: this.streams.tableName });
    new CfnOutput(this, 'ConnectionsTable', { value: this.connections.tableName });
    new CfnOutput(this, 'TokenKeysSecret', { value: this.tokenKeys.secretArn });
    new CfnOutput(this, 'IssuerKeysSecret', { value: this.issuerKeys.secretArn });
    new CfnOutput(this, 'ApiKeysSecret', { value: this.apiKeys.secretArn });
    for (const role of REDIS_ROLES) new CfnOutput(this, `${redisSecret(role)}Secret`, { value: this.redisPasswords[role].secretArn });
    new CfnOutput(this, 'ImageRepository', { value: this.images.repositoryUri });
  }
}

/** What the secret of a role's password is called. */
function redisSecret(role: RedisRole): string {
  return `Redis${role.charAt(0).toUpperCase()}${role.slice(1)}`;
}
