import { Command } from 'commander';
import { settingsOf } from '../settings.js';

/** `siphon tag IMAGE NAME` */
export function tagCommand(): Command {
  return new Command('tag')
    .description('give an image one more name')
    .argument('<image>', 'as siphon images lists it')
    .argument('<name>', '[HOST/]REPOSITORY[:TAG]')
    .action(async (text: string, nameText: string, _options: unknown, command: Command) => {
      const { ImageDatabase } = await import('../../content/image-database.js');
      const { parseImageName, parseTag } = await import('../../content/image-name.js');
      const { formatReference } = await import('../../remote/reference.js');
      const { root, json } = settingsOf(command);
      const name = formatReference(parseTag(nameText));
      using images = ImageDatabase.open(root);
      const image = images.get(parseImageName(text));
      images.put({ ...image, name, isGiven: true });
      const answer = { name, target: image.target.digest };
      process.stdout.write(json ? `${JSON.stringify(answer)}\n` : `${name}\n`);
    });
}
