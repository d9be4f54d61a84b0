"""The pages, a module each: what they read, and what their forms do."""
