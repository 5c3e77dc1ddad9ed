import { bondApp } from '../lib/app.ts';

bondApp();
