//! The stack of the pickle machine, in sections: what lies below the last mark is out of reach.

use super::value::Value;

#[derive(Default)]
pub struct Stack<'a> {
    values: Vec<Value<'a>>,
    /// Heights at which marks lie.
    marks: Vec<usize>,
}

impl<'a> Stack<'a> {
    pub fn push(&mut self, value: Value<'a>) {
        self.values.push(value);
    }

    pub fn mark(&mut self) {
        self.marks.push(self.values.len());
    }

    pub fn top(&self) -> Option<Value<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.values.get(floor..)?.last().copied()
    }

    pub fn pop(&mut self) -> Option<Value<'a>> {
        let top = self.top()?;
        self.values.pop();
        Some(top)
    }

    /// The topmost `count`, lowest first.
    pub fn pop_many(&mut self, count: usize) -> Option<Vec<Value<'a>>> {
        let mut values = (0..count).map(|_| self.pop()).collect::<Option<Vec<_>>>()?;
        values.reverse();
        Some(values)
    }

    /// All above the last mark, lowest first, and the mark.
    pub fn pop_section(&mut self) -> Option<Vec<Value<'a>>> {
        let floor = self.marks.pop()?;
        (floor <= self.values.len()).then(|| self.values.drain(floor..).collect())
    }
}
