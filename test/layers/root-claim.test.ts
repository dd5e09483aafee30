import { expect, test } from 'vitest';
import { claimRoot } from '#src/layers/root-claim.js';
import { temporaryFolder } from '../support/temporary-folder.js';

test('a service that is just ending is waited for, one that goes on is not', async () => {
  await using root = await temporaryFolder();
  const end = await claimRoot(root.path);
  const next = claimRoot(root.path);
  end();
  const endNext = await next;
  await expect(claimRoot(root.path)).rejects.toMatchObject({ code: 'busy' });
  endNext();
});
