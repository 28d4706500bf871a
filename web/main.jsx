import './workers.js'
import '@graphiql/react/style.css'
import '@graphiql/plugin-doc-explorer/style.css'
import 'graphiql/graphiql.css'
import './style.css'

import { pick, useGraphiQL, useGraphiQLActions } from '@graphiql/react'
import { GraphiQL } from 'graphiql'
import { useEffect, useRef } from 'react'
import { createRoot } from 'react-dom/client'

import { examples } from './examples.js'
import { createFetcher } from './fetcher.js'

const { endpoint, key } = JSON.parse(document.getElementById('waybill').textContent)
const firstHeaders = JSON.stringify({ Authorization: `Bearer ${key ?? '<your key>'}` }, null, 2)
const fetcher = createFetcher(endpoint, firstHeaders)

/** GraphiQL keeps headers per tab and reads the schema once: a key typed later has to reach the other tabs and the schema. */
function ShareTypedKey() {
  const { headerEditor, schema } = useGraphiQL(pick('headerEditor', 'schema'))
  const tab = useGraphiQL(({ tabs, activeTabIndex }) => tabs[activeTabIndex].id)
  const { introspect } = useGraphiQLActions()
  const typed = useRef(firstHeaders)

  useEffect(() => {
    if (headerEditor?.getValue() === firstHeaders) headerEditor.setValue(typed.current)
  }, [headerEditor, tab])

  useEffect(() => {
    let timer
    const listener = headerEditor?.onDidChangeModelContent(() => {
      const headers = headerEditor.getValue()
      if (headers !== firstHeaders) typed.current = headers
      clearTimeout(timer)
      if (!schema) timer = setTimeout(introspect, 700)
    })
    return () => {
      clearTimeout(timer)
      listener?.dispose()
    }
  }, [headerEditor, schema, introspect])
}

// No history plugin: it writes the headers, and so the key, to localStorage.
createRoot(document.getElementById('graphiql')).render(
  <GraphiQL
    fetcher={fetcher}
    defaultHeaders={firstHeaders}
    defaultTabs={examples}
    defaultEditorToolsVisibility={key ? 'variables' : 'headers'}
    plugins={[]}
    shouldPersistHeaders={false}
  >
    <GraphiQL.Logo>Waybill</GraphiQL.Logo>
    <ShareTypedKey />
  </GraphiQL>,
)
