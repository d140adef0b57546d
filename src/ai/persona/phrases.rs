//! What an assistant says when nothing else is to be said, as shipped, in English, Chinese and Spanish.

use crate::ai::verdict::Language;

/// An occasion to say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phrase {
    Greeting,
    /// A question back; how many were asked in a row before.
    Clarify(usize),
    /// A person takes over.
    Person,
    /// A life may be in danger, and a person takes over.
    Danger,
    Goodbye,
    /// After an answer was taken note of.
    More,
    /// Before a passage that may have to do with the question.
    Near,
}

impl Phrase {
    pub(super) fn shipped(self, language: Language) -> &'static str {
        let [english, chinese, spanish] = match self {
            Self::Greeting => ["How can I help you?", "请问有什么可以帮您？", "¿En qué puedo ayudarle?"],
            Self::Clarify(0) => [
                "I did not quite get that. What is it about?",
                "不好意思，我没太听明白，请问是关于什么的？",
                "No le he entendido bien. ¿De qué se trata?",
            ],
            Self::Clarify(_) => [
                "I am sorry, could you say it in other words, in one sentence? Or say \"a person\", and I put you through.",
                "抱歉，请您换个说法，用一句话说说？或者说“转人工”，我帮您转接。",
                "Lo siento, ¿puede decirlo con otras palabras, en una frase? O diga «una persona» y le paso.",
            ],
            Self::Person => [
                "I am putting you through to a colleague.",
                "好的，我帮您转接人工同事，请稍等。",
                "Le paso con un compañero. Un momento, por favor.",
            ],
            Self::Danger => [
                "If anybody is in danger, call the emergency services now. I am putting you through to a person.",
                "如果有人身处危险，请立即拨打急救或报警电话。我马上帮您转接人工。",
                "Si alguien está en peligro, llame ahora a emergencias. Le paso con una persona.",
            ],
            Self::Goodbye => ["Thank you, goodbye.", "感谢您的来电，再见。", "Gracias, hasta luego."],
            Self::More => ["Is there anything else?", "请问还有其他问题吗？", "¿Algo más?"],
            Self::Near => ["This may help:", "以下内容可能对您有帮助：", "Esto puede ayudarle:"],
        };
        match language {
            Language::Zh => chinese,
            Language::Es => spanish,
            Language::En | Language::Unknown => english,
        }
    }
}
