// Package config reads a configuration struct from environment variables: it checks the values,
// reports all mistakes at once, and lists the variables for people.
package config
