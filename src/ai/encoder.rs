//! An embedding model through ort: a text to pieces, pieces to states, their mean to one vector.
//!
//! Its graph takes `input_ids`, one row of pieces, and gives `last_hidden_state`, a state a piece; `models/train/encoder_graph.py` writes such
//! ones. `models/train/embedding.py` does the same as this file, so that heads learn from the vectors that they will be given.

use ort::value::Tensor;
use tokenizers::{Tokenizer, TruncationParams};

use super::{
    limits::{DIMENSIONS_MAX, TOKENS_MAX},
    onnx::Graph,
    sentences::Embeds,
    text::Text,
};

struct Encoder {
    tokenizer: Tokenizer,
    graph: Graph,
}

/// Loads a model and its tokenizer, and asks it once: what its backend cannot run is refused here, and not at the first customer.
pub(super) fn load(model: &[u8], tokenizer: &[u8]) -> Result<Box<dyn Embeds>, String> {
    let mut tokenizer = Tokenizer::from_bytes(tokenizer).map_err(|error| format!("tokenizer.json: {error}"))?;
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: TOKENS_MAX, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| format!("tokenizer.json: {error}"))?;
    let encoder = Encoder { tokenizer, graph: Graph::open_optimised(model)? };
    encoder.vector(&Text::read(b"my card was lost")).map(|_| Box::new(encoder) as Box<dyn Embeds>)
}

impl Embeds for Encoder {
    fn vector(&self, text: &Text) -> Result<Vec<f32>, String> {
        let pieces = self.tokenizer.encode_fast(text.as_str(), true).map_err(|error| error.to_string())?;
        let ids: Vec<i64> = pieces.get_ids().iter().copied().map(i64::from).collect();
        let n = ids.len();
        if n == 0 || n > TOKENS_MAX {
            return Err(format!("{n} pieces, which must be 1 to {TOKENS_MAX}"));
        }
        let row = Tensor::from_array(([1, n], ids)).map_err(|error| error.to_string())?;
        let states = self.graph.run(vec![("input_ids", row.into())], "last_hidden_state")?;
        mean(&states, n)
    }
}

/// The mean of `n` states, brought to length one.
fn mean(states: &[f32], n: usize) -> Result<Vec<f32>, String> {
    let dimensions = states.len() / n;
    if dimensions == 0 || dimensions > DIMENSIONS_MAX || dimensions * n != states.len() {
        return Err(format!("{} numbers for {n} pieces", states.len()));
    }
    let mut sum = vec![0.0_f32; dimensions];
    for state in states.chunks_exact(dimensions) {
        sum.iter_mut().zip(state).for_each(|(sum, value)| *sum += value);
    }
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    if !length.is_finite() || length == 0.0 {
        return Err("the vector has no direction".to_owned());
    }
    sum.iter_mut().for_each(|value| *value /= length);
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::mean;

    #[test]
    fn a_vector_is_the_mean_of_its_states_with_length_one() {
        assert_eq!(mean(&[0.0, 6.0, 6.0, 2.0], 2).unwrap(), [0.6, 0.8]);
        assert!(mean(&[0.0, 1.0, 2.0], 2).is_err(), "numbers that do not go by pieces");
        assert!(mean(&[1.0, -1.0], 2).is_err(), "nothing is left to point anywhere");
        assert!(mean(&[f32::NAN], 1).is_err());
    }
}
