python convert_hf_to_gguf.py ./my-model --outfile my-model.gguf --outtype q8_0
llama-server -m my-model.gguf
