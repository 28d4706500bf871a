import { defineConfig } from 'vite'

export default defineConfig({
  base: '/graphiql/',
  logLevel: 'warn',
  build: {
    outDir: '../waybill/static',
    emptyOutDir: true,
    // A file of our origin each, so that the page's Content-Security-Policy needs no data: for scripts and fonts.
    assetsInlineLimit: 0,
    // The bundle holds the code of others, so their licences travel with it.
    license: { fileName: 'licenses.md' },
    chunkSizeWarningLimit: 4000,
    // "use client" in the libraries speaks to servers that render React, and there is none here.
    rolldownOptions: { checks: { moduleLevelDirective: false } },
  },
  // The GraphQL worker loads its formatter lazily, which only modules can.
  worker: { format: 'es' },
})
