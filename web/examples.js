const read = (files) => Object.entries(files).sort(([a], [b]) => a.localeCompare(b))

const queries = import.meta.glob('./examples/*.graphql', { query: '?raw', import: 'default', eager: true })
const variables = import.meta.glob('./examples/*.json', { query: '?raw', import: 'default', eager: true })

/** The tabs of a first visit, in the order of their file names. */
export const examples = read(queries).map(([path, query]) => ({
  query,
  variables: variables[path.replace('.graphql', '.json')],
}))
