import { CfnUser, CfnUserGroup } from 'aws-cdk-lib/aws-elasticache';
import type { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';
import access from './redis-access.json' with { type: 'json' };

/** Who talks to Redis: ingest with its relay, dedicated edges beside it, the function `api`, and the functions behind WebSocket routes. */
export type RedisRole = keyof typeof access;

/** All of them. */
export const REDIS_ROLES = Object.keys(access) as RedisRole[];

/** What each may do to which keys and channels, as Redis has it: a process that is taken over reaches no further than its own work. */
export const REDIS_ACCESS: Record<RedisRole, string> = access;

/** A user for each role, and the group of them, of which a replication group admits nobody else. */
export function redisUsers(scope: Construct, deployment: string, passwords: Record<RedisRole, Secret>): CfnUserGroup {
  const prefix = deployment.toLowerCase();
  const user = (id: string, userName: string, accessString: string, password: Secret) =>
    new CfnUser(scope, `User${id}`, {
      engine: 'valkey',
      userId: `${prefix}-${id}`,
      userName,
      accessString,
      authenticationMode: { Type: 'password', Passwords: [password.secretValue.unsafeUnwrap()] },
    });
  const users = REDIS_ROLES.map((role) => user(role, role, REDIS_ACCESS[role], passwords[role]));
  // Who names no user is `default`, which may do nothing. It has to have a password, which nobody is told.
  users.push(user('nobody', 'default', 'off -@all', passwords.ingest));
  const group = new CfnUserGroup(scope, 'Users', { engine: 'valkey', userGroupId: `${prefix}-users`, userIds: users.map(({ ref }) => ref) });
  return group;
}
