// Package service is what every binary of the project shares around its work: configuration from environment variables, the command
// line, logs, the admin port, signals, and the order in which parts start and stop.
package service
