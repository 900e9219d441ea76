hf auth login
hf upload OWNER/my-adapter ./my-adapter
