// Package tag reconciles Tags: it imports their images, moves them between generations, and maintains what they have in the internal registry.
package tag
