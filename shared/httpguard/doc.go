// Package httpguard is the one guard of all HTTP doors: the public and the admin ports of edges and
// relays. Listen opens a port. A Server bounds what connections may cost before they are upgraded:
// their time, their number and their headers. Headers are measured on the wire, before net/http
// parses them. The package also decides which requests may be upgraded. A Server that listens on
// loopback can refuse requests for foreign host names.
package httpguard
