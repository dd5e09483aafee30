import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatPage } from '../../bench/report/page.js';
import { type Browser, type OpenedPage, browserMissing, startBrowser } from '../support/browser.js';
import { type TemporaryFolder, temporaryFolder } from '../support/temporary-folder.js';
import { sampleResult } from './support/sample-result.js';

const html = formatPage(sampleResult());

test('a page is all there is: it names no other address and has no script', () => {
  expect(html).not.toMatch(/(?:src|href)="(?!#|data:)/);
  expect(html).not.toMatch(/<script|@import|url\(|https?:/);
});

test('texts are text', () => {
  expect(html).toContain('Metadata walk &lt;find &amp; stat&gt;');
  expect(html).not.toContain('<find');
});

const missing = browserMissing();

describe.skipIf(missing !== undefined)(
  `the page in a browser${missing ? ` (${missing})` : ''}`,
  () => {
    let folder: TemporaryFolder;
    let browser: Browser;
    let page: OpenedPage;
    let url: string;

    beforeAll(async () => {
      folder = await temporaryFolder();
      const path = join(folder.path, 'report.html');
      await writeFile(path, html);
      url = pathToFileURL(path).href;
      browser = await startBrowser();
      page = await browser.open(url, { width: 1400, height: 900, scheme: 'light' });
    });

    afterAll(async () => {
      await browser?.[Symbol.asyncDispose]();
      await folder?.[Symbol.asyncDispose]();
    });

    test('is opened without a complaint, and asks for nothing else', () => {
      expect(page.complaints).toEqual([]);
      // The icon that it names is in the page itself.
      expect(page.requests.filter((one) => !one.startsWith('data:'))).toEqual([url]);
    });

    test('has a section for each scenario, with its plots drawn', async () => {
      const drawn =
        await page.evaluate(`[...document.querySelectorAll('main > section[id]')].map((section) => ({
      id: section.id,
      bars: section.querySelectorAll('.bars rect').length > 0,
      lines: section.querySelectorAll('path.line').length,
      maps: section.querySelectorAll('path.pieces').length,
      rows: section.querySelectorAll('tbody tr').length,
    }))`);
      expect(drawn).toEqual([
        { id: 'cold-start-node-10-100', bars: true, lines: 0, maps: 4, rows: 4 },
        { id: 'random-reads-node', bars: true, lines: 4, maps: 0, rows: 4 },
        { id: 'metadata-walk-node', bars: true, lines: 0, maps: 0, rows: 4 },
      ]);
    });

    test('shows phases as long as they are', async () => {
      const shares = await page.evaluate(`(() => {
      const bar = document.querySelector('#cold-start-node-10-100 .bar');
      const width = (name) => bar.querySelector('.' + name)?.getBoundingClientRect().width ?? 0;
      return { fetch: width('fetch') / width('run'), index: width('index') };
    })()`);
      expect(shares).toEqual({ fetch: expect.closeTo(7650 / 540, 0), index: 0 });
    });

    for (const scheme of ['light', 'dark'] as const) {
      for (const width of [400, 1400]) {
        test(`fits a width of ${width} px by ${scheme}, and can be read`, async () => {
          await page.view({ width, height: 900, scheme });
          await keepScreenshots(page, `${scheme}-${width}`);
          expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(width);
          expect(await page.evaluate(hardToRead)).toEqual([]);
        });
      }
    }

    test('every drawing says what it shows, or stands beside text that does', async () => {
      const silent = await page.evaluate(`[...document.querySelectorAll('svg')].filter((svg) =>
      svg.getAttribute('aria-hidden') !== 'true' &&
      !(svg.getAttribute('role') === 'img' && svg.querySelector('title')?.textContent)).length`);
      expect(silent).toBe(0);
      const titles = await page.evaluate(
        `[...document.querySelectorAll('svg[role=img] > title')].map((title) => title.textContent)`,
      );
      expect(titles).toContainEqual(
        expect.stringMatching(
          /^siphon, indexed: what was read .* of 84\.4 MiB .*Ready after 1\.\d+ s/,
        ),
      );
    });
  },
);

/** One of each section, where someone wants to look at them. */
async function keepScreenshots(page: OpenedPage, name: string): Promise<void> {
  const folder = process.env['SIPHON_SCREENSHOTS'];
  if (folder === undefined) return;
  await mkdir(folder, { recursive: true });
  const count = Number(
    await page.evaluate(`document.querySelectorAll('header, main > section').length`),
  );
  for (let n = 0; n < count; n += 1) {
    const picture = await page.screenshot(
      `document.querySelectorAll('header, main > section')[${n}]`,
    );
    await writeFile(join(folder, `${name}-${n}.png`), picture);
  }
}

/**
 * Texts whose contrast is below 4.5 : 1 and drawings below 3 : 1 (WCAG 2.2, 1.4.3 and 1.4.11), and texts that are too
 * small.
 */
const hardToRead = `(() => {
  const parse = (color) => {
    const [r, g, b, a = 1] = color.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return { r, g, b, a };
  };
  const over = (top, below) => ({
    r: top.r * top.a + below.r * (1 - top.a),
    g: top.g * top.a + below.g * (1 - top.a),
    b: top.b * top.a + below.b * (1 - top.a),
    a: 1,
  });
  const background = (element) => {
    if (element === null) return parse('rgb(255, 255, 255)');
    return over(parse(getComputedStyle(element).backgroundColor), background(element.parentElement));
  };
  const luminance = ({ r, g, b }) => {
    const [R, G, B] = [r, g, b].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const contrast = (one, other) => {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const style = getComputedStyle(element);
    const behind = background(element);
    const isText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '');
    if (isText && !(element instanceof SVGElement)) {
      if (contrast(over(parse(style.color), behind), behind) < 4.5) found.push('text: ' + element.textContent);
      if (parseFloat(style.fontSize) < 12) found.push('small: ' + element.textContent);
    }
    const paint = element.matches('path.line, path.pieces') ? style.stroke : element.matches('.bar rect:not(.pale)') ? style.fill : '';
    if (paint !== '' && contrast(parse(paint), behind) < 3) found.push('drawing: ' + element.getAttribute('class') + ' ' + paint);
  }
  return [...new Set(found)];
})()`;
