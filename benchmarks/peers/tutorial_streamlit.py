"""The chat that tutorials show: transformers, TextIteratorStreamer and st.write_stream in one script.

Reads the same GGUF weights through transformers (which needs the `gguf` package). Set TUTORIAL_MODEL to the
file and TUTORIAL_TOKENS to the longest reply.
"""

import os
from pathlib import Path
from threading import Thread

import streamlit as st
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer


@st.cache_resource
def load():
    file = Path(os.environ["TUTORIAL_MODEL"])
    names = {"gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **names)
    model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **names)
    return tokenizer, model.eval()


tokenizer, model = load()
st.title("Chat")
if "messages" not in st.session_state:
    st.session_state.messages = []
for message in st.session_state.messages:
    with st.chat_message(message["role"]):
        st.markdown(message["content"])

if question := st.chat_input("Ask something"):
    st.session_state.messages.append({"role": "user", "content": question})
    with st.chat_message("user"):
        st.markdown(question)
    inputs = tokenizer.apply_chat_template(
        st.session_state.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    tokens = int(os.environ["TUTORIAL_TOKENS"])
    arguments = dict(**inputs, streamer=streamer, max_new_tokens=tokens, do_sample=False)
    Thread(target=model.generate, kwargs=arguments).start()
    with st.chat_message("assistant"), st.container(key="tutorial_answer"):
        answer = st.write_stream(streamer)
    st.session_state.messages.append({"role": "assistant", "content": answer})
    st.caption("finished")
