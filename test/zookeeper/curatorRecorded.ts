/**
 * Nodes as Apache Curator 5.7.1 (`curator-x-discovery`, `JsonInstanceSerializer` for the payload's class) wrote them below
 * `/services/api`, by name. `enabled` and `disabled` are of the serializer that is told to write that field.
 */
export const recorded: Readonly<Record<string, string>> = {
  none: `{"name":"api","id":"none","address":"10.0.0.1","port":80,"sslPort":null,"payload":null,"registrationTimeUTC":1795340500197,"serviceType":"DYNAMIC","uriSpec":null}`,
  map: `{"name":"api","id":"map","address":"10.0.0.2","port":81,"sslPort":null,"payload":{"@class":"java.util.LinkedHashMap","zone":"a"},"registrationTimeUTC":1795340500407,"serviceType":"DYNAMIC","uriSpec":null}`,
  object: `{"name":"api","id":"object","address":"10.0.0.3","port":82,"sslPort":443,"payload":{"@class":"Interop$Point","zone":"b","weight":3},"registrationTimeUTC":1795340500418,"serviceType":"DYNAMIC","uriSpec":null}`,
  text: `{"name":"api","id":"text","address":"10.0.0.4","port":83,"sslPort":null,"payload":"a text","registrationTimeUTC":1795340500427,"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},{"value":"://","variable":false},{"value":"address","variable":true},{"value":":","variable":false},{"value":"port","variable":true}]}}`,
  disabled: `{"name":"api","id":"disabled","address":"10.0.0.5","port":84,"sslPort":null,"payload":null,"registrationTimeUTC":1795340500452,"serviceType":"DYNAMIC","uriSpec":null,"enabled":false}`,
  enabled: `{"name":"api","id":"enabled","address":"10.0.0.6","port":85,"sslPort":null,"payload":null,"registrationTimeUTC":1795340500465,"serviceType":"DYNAMIC","uriSpec":null,"enabled":true}`,
  tls: `{"name":"api","id":"tls","address":"10.0.0.7","port":null,"sslPort":8443,"payload":null,"registrationTimeUTC":1795340500476,"serviceType":"DYNAMIC","uriSpec":null}`,
  "numbered-0000000007": `{"name":"api","id":"numbered-","address":"10.0.0.8","port":86,"sslPort":null,"payload":null,"registrationTimeUTC":1795340500482,"serviceType":"DYNAMIC_SEQUENTIAL","uriSpec":null}`,
  lasting: `{"name":"api","id":"lasting","address":"10.0.0.9","port":87,"sslPort":null,"payload":null,"registrationTimeUTC":1795340500488,"serviceType":"PERMANENT","uriSpec":null}`,
  number: `{"name":"api","id":"number","address":"10.0.0.10","port":88,"sslPort":null,"payload":["java.lang.Long",7],"registrationTimeUTC":1795340500503,"serviceType":"DYNAMIC","uriSpec":null}`
}
