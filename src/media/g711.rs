//! G.711: both laws to linear and back (ITU-T G.711), and law to law.
//!
//! Tables for decoding and for law to law, arithmetic for encoding. It knows nothing of packets.

/// Which of the two companding laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// µ-law, PCMU.
    Mu,
    /// A-law, PCMA.
    A,
}

impl Law {
    /// One sample to 16-bit linear.
    pub fn decode(self, code: u8) -> i16 {
        match self {
            Self::Mu => MU_TO_LINEAR[usize::from(code)],
            Self::A => A_TO_LINEAR[usize::from(code)],
        }
    }

    /// One 16-bit linear sample to its code.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => encode_mu(sample),
            Self::A => encode_a(sample),
        }
    }

    /// Codes of this law to codes of the other, in place.
    pub fn to_other(self, codes: &mut [u8]) {
        let table = match self {
            Self::Mu => &MU_TO_A,
            Self::A => &A_TO_MU,
        };
        for code in codes {
            *code = table[usize::from(*code)];
        }
    }
}

static MU_TO_LINEAR: [i16; 256] = linear_table(true);
static A_TO_LINEAR: [i16; 256] = linear_table(false);
static MU_TO_A: [u8; 256] = law_table(true);
static A_TO_MU: [u8; 256] = law_table(false);

const fn linear_table(mu: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = if mu { decode_mu(code as u8) } else { decode_a(code as u8) };
        code += 1;
    }
    table
}

const fn law_table(from_mu: bool) -> [u8; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = if from_mu { encode_a(decode_mu(code as u8)) } else { encode_mu(decode_a(code as u8)) };
        code += 1;
    }
    table
}

const fn decode_mu(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((((code & 0x0F) as i16) << 3) + 0x84) << ((code & 0x70) >> 4);
    if code & 0x80 == 0 { magnitude - 0x84 } else { 0x84 - magnitude }
}

const fn decode_a(code: u8) -> i16 {
    let code = code ^ 0x55;
    let step = ((code & 0x0F) as i16) << 4;
    let segment = (code & 0x70) >> 4;
    let magnitude = match segment {
        0 => step + 8,
        _ => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

const fn encode_mu(sample: i16) -> u8 {
    const CLIP: i32 = 32_635;
    let negative = sample < 0;
    let mut magnitude = if negative { -(sample as i32) } else { sample as i32 };
    if magnitude > CLIP {
        magnitude = CLIP;
    }
    magnitude += 0x84;
    let segment = 24 - (magnitude as u32).leading_zeros() as i32;
    let step = (magnitude >> (segment + 3)) & 0x0F;
    let sign = if negative { 0x80 } else { 0 };
    !(sign | (segment << 4) as u8 | step as u8)
}

const fn encode_a(sample: i16) -> u8 {
    // Negative samples are mirrored around -1, so that -1 and 0 lie in the innermost steps of either sign.
    let negative = sample < 0;
    let magnitude = (if negative { -(sample as i32) - 1 } else { sample as i32 }) >> 4;
    let code = if magnitude < 32 {
        magnitude
    } else {
        let shift = 27 - (magnitude as u32).leading_zeros() as i32;
        ((shift + 1) << 4) | ((magnitude >> shift) & 0x0F)
    };
    let sign = if negative { 0 } else { 0x80 };
    (sign | code as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_decode_to_the_values_of_the_recommendation() {
        assert_eq!([0x80, 0x00, 0xFF, 0x7F].map(|code| Law::Mu.decode(code)), [32_124, -32_124, 0, 0]);
        assert_eq!([0xAA, 0x2A, 0xD5, 0x55].map(|code| Law::A.decode(code)), [32_256, -32_256, 8, -8]);
    }

    #[test]
    fn every_code_survives_the_way_through_linear() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255 {
                // µ-law has two zeros; the negative one comes back as the positive.
                let expected = if law == Law::Mu && code == 0x7F { 0xFF } else { code };
                assert_eq!(law.encode(law.decode(code)), expected, "{law:?} {code:#x}");
            }
        }
    }

    #[test]
    fn every_sample_is_met_within_its_step() {
        for law in [Law::Mu, Law::A] {
            for sample in i16::MIN..=i16::MAX {
                let error = (i32::from(law.decode(law.encode(sample))) - i32::from(sample)).abs();
                let allowed = (i32::from(sample).abs() / 16).max(16);
                assert!(error <= allowed, "{law:?} {sample}: off by {error}");
            }
        }
    }

    #[test]
    fn law_to_law_is_decode_and_encode() {
        for code in 0..=255_u8 {
            let mut there = [code];
            Law::Mu.to_other(&mut there);
            assert_eq!(there[0], Law::A.encode(Law::Mu.decode(code)));
        }
    }
}
