// Starts the page at /api/docs. It is served as swagger-initializer.js.

// deprecatedLast keeps the order otherwise.
const deprecatedLast = (a, b) => Number(a.getIn(['operation', 'deprecated'], false)) - Number(b.getIn(['operation', 'deprecated'], false))

window.onload = () => {
  window.ui = SwaggerUIBundle({
    url: 'doc.json',
    dom_id: '#swagger-ui',
    validatorUrl: null, // no request leaves this server
    persistAuthorization: true,
    deepLinking: true,
    docExpansion: 'list',
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    operationsSorter: deprecatedLast,
    presets: [SwaggerUIBundle.presets.apis],
    layout: 'BaseLayout',
    // The box of Authorize takes the bare token; with "Bearer " before it works too.
    requestInterceptor: request => {
      const token = (request.headers?.Authorization ?? '').trim()
      if (token && !/\s/.test(token)) request.headers.Authorization = 'Bearer ' + token
      return request
    },
  })
}
