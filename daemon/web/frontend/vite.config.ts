// Builds the study page into ../static/viewer, which is committed: to run needs no Node.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig, type Plugin } from 'vite';

const here = dirname(fileURLToPath(import.meta.url));

const sha256 = (data: string | Uint8Array): string =>
  createHash('sha256').update(data).digest('hex');

/** SHA-256 over "path NUL digest LF" of every source in order of its path, as the test makes it. */
function sourcesDigest(): string {
  const files = [
    '.npmrc',
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'vite.config.ts',
    ...filesOf(join(here, 'src')).map((file) => `src/${file}`),
  ].sort();
  return sha256(files.map((file) => `${file}\0${sha256(readFileSync(join(here, file)))}\n`).join(''));
}

/** The package that a module belongs to: its folder below node_modules. */
function packageOf(id: string): string | undefined {
  const found = /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id.replace(/^\0/, '').split('?')[0]);
  return found?.[0];
}

const LICENCE_FILE = /^(licen[cs]e|copying|notice)/i;

// What the codecs of @cornerstonejs were compiled from; their packages carry no texts of these.
const COMPILED = `Compiled into the codecs (WebAssembly):
CharLS, BSD-3-Clause, https://github.com/team-charls/charls
OpenJPEG, BSD-2-Clause, https://github.com/uclouvain/openjpeg
OpenJPH, BSD-2-Clause, https://github.com/aous72/OpenJPH
libjpeg-turbo, IJG and BSD-3-Clause, https://github.com/libjpeg-turbo/libjpeg-turbo
This software is based in part on the work of the Independent JPEG Group.`;

/** Name, version, licence and licence text of each package in the bundle. */
function thirdParty(packages: Set<string>): string {
  const parts = [...packages].sort().map((folder) => {
    const about = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const licence = about.license ?? about.licenses?.[0]?.type ?? 'not stated';
    if (/GPL/.test(licence)) throw new Error(`${about.name}: ${licence} may not be shipped`);
    const texts = readdirSync(folder)
      .filter((name) => LICENCE_FILE.test(name))
      .sort()
      .map((name) => readFileSync(join(folder, name), 'utf8').trim());
    return [`${about.name} ${about.version}`, `Licence: ${licence}`, '', ...texts].join('\n').trimEnd();
  });
  return (
    'The study page is built of these packages.\n\n' +
    [COMPILED, ...parts].join(`\n\n${'-'.repeat(72)}\n\n`) +
    '\n'
  );
}

/** Every module's package, those of the workers and of the codecs too. */
const packages = new Set<string>();
const remember: () => Plugin = () => ({
  name: 'hilum-remember',
  load(id) {
    const folder = packageOf(id);
    if (folder !== undefined && existsSync(join(folder, 'package.json'))) packages.add(folder);
    return null;
  },
});

/** The paths of all files below a folder. */
function filesOf(folder: string): string[] {
  return (readdirSync(folder, { recursive: true, withFileTypes: true }) as any[])
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort();
}

/** What is shipped and of which sources; the server reads the names, a test the digests. */
const manifest: Plugin = {
  name: 'hilum-manifest',
  generateBundle() {
    this.emitFile({ type: 'asset', fileName: 'THIRD-PARTY.txt', source: thirdParty(packages) });
  },
  // Last of all: the chunks are still being written to before
  writeBundle({ dir }, bundle) {
    const chunks = Object.values(bundle).filter((made) => made.type === 'chunk');
    const named = (name: string) => chunks.find((chunk) => chunk.name === name)!.fileName;
    const files = filesOf(dir!).map((file) => [file, sha256(readFileSync(join(dir!, file)))]);
    const text = {
      sources: sourcesDigest(),
      entry: named('study'),
      preload: [named('viewer')],
      files: Object.fromEntries(files),
    };
    writeFileSync(join(dir!, 'manifest.json'), `${JSON.stringify(text, null, 2)}\n`);
  },
};

// Everything is named by its content and may be kept by a browser for ever
const names = {
  entryFileNames: 'assets/[name]-[hash].js',
  chunkFileNames: 'assets/[name]-[hash].js',
  assetFileNames: 'assets/[name]-[hash][extname]',
};

export default defineConfig({
  root: here,
  base: './',
  resolve: {
    alias: [
      // A writer of XML, which the loader's packages bring along and a viewer has no use for.
      { find: /^xmlbuilder2$/, replacement: join(here, 'src/no-xml.ts') },
      // The listener takes no JPEG XL: its decoder, a megabyte, is left out.
      { find: /^@cornerstonejs\/codec-libjxl\/decodewasmjs$/, replacement: join(here, 'src/no-jpegxl.ts') },
      { find: /^@cornerstonejs\/codec-libjxl\/decodewasm$/, replacement: join(here, 'src/no-jpegxl.txt') },
    ],
  },
  worker: { format: 'es', plugins: () => [remember()], rollupOptions: { output: names } },
  build: {
    outDir: join(here, '../static/viewer'),
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: false,
    chunkSizeWarningLimit: 4000,
    rollupOptions: {
      input: { study: join(here, 'src/main.ts') },
      output: names,
    },
  },
  plugins: [remember(), manifest],
});
