// Package pushtokens keeps the Secret of the tokens with which senders of push notifications authenticate.
package pushtokens
