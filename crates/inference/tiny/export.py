"""Writes the trained weights as a GGUF file: matrices in Q8_0, norms in F32."""

import bpe
import gguf
import numpy as np
from gguf.quants import quantize

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def metadata(writer, tokenizer, shape):
    writer.add_type("model")
    writer.add_name("dialtone-tiny")
    writer.add_description("The receptionist of a made-up dental clinic, for tests.")
    writer.add_license("mit OR apache-2.0")
    writer.add_languages(["en"])
    writer.add_context_length(shape["context"])
    writer.add_embedding_length(shape["embed"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["feed"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv_heads"])
    writer.add_rope_dimension_count(shape["embed"] // shape["heads"])
    writer.add_rope_freq_base(shape["rope_base"])
    writer.add_layer_norm_rms_eps(shape["epsilon"])
    writer.add_vocab_size(len(tokenizer.tokens))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokenizer.tokens)
    control = len(bpe.SPECIALS)
    types = [gguf.TokenType.CONTROL] * control + [gguf.TokenType.NORMAL] * (len(tokenizer.tokens) - control)
    writer.add_token_types(types)
    writer.add_token_merges([f"{a} {b}" for a, b in tokenizer.merges])
    writer.add_bos_token_id(bpe.END_OF_TEXT)
    writer.add_eos_token_id(bpe.END)
    writer.add_pad_token_id(bpe.END_OF_TEXT)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def write(path, params, tokenizer, shape):
    writer = gguf.GGUFWriter(path, "llama")
    metadata(writer, tokenizer, shape)

    def matrix(name, values):
        packed = quantize(np.asarray(values, np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    def vector(name, values):
        writer.add_tensor(f"{name}.weight", np.asarray(values, np.float32))

    # The embedding is the output head, too.
    matrix("token_embd", params["embedding"])
    vector("output_norm", params["norm"])
    for i, block in enumerate(params["blocks"]):
        for name, values in block.items():
            (matrix if np.ndim(values) > 1 else vector)(f"blk.{i}.{name}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
