from apex import tokenizer


def test_counts_the_tokens_of_a_text():
    assert tokenizer.count_tokens("Hello! How can I help you today?") == 9


def test_empty_text_has_no_tokens():
    assert tokenizer.count_tokens("") == 0


def test_accepts_a_lone_surrogate():
    assert tokenizer.count_tokens("\ud83d") >= 1
