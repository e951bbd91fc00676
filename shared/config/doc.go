// Package config reads a configuration struct from environment variables: it checks the values,
// tells the mistakes together, and lists the variables for people.
package config
