//! The pickle machine: a stack, a memo and a heap of data. It implements the opcodes that torch.save writes, of
//! protocols 2 to 4, and calls nothing: see [`super::construct`] for what stands in for calls.

use super::error::{Problem, Result};
use super::globals;
use super::input::Input;
use super::opcode as op;
use super::stack::Stack;
use super::value::{Heap, Value};
use std::collections::HashMap;

/// The longest pickle that is read: names, sizes and hyper-parameters, no weights.
pub const LONGEST: usize = 64 << 20;

/// Bounds everything that the machine holds, at roughly 100 bytes a step. A tensor takes about 35 steps.
const MOST_STEPS: usize = 1 << 20;

/// A pickle's value, the heap it refers to, and where the next byte is.
pub struct Pickled<'a> {
    pub root: Value<'a>,
    pub heap: Heap<'a>,
    pub end: usize,
}

/// Runs the pickle that starts at `start`.
pub fn run(bytes: &[u8], start: usize) -> Result<Pickled<'_>> {
    let mut machine = Machine {
        input: Input::new(bytes, start),
        at: start,
        steps: 0,
        stack: Stack::default(),
        memo: HashMap::new(),
        heap: Heap::default(),
    };
    let root = machine.run()?;
    Ok(Pickled {
        root,
        heap: machine.heap,
        end: machine.input.at(),
    })
}

pub(super) struct Machine<'a> {
    input: Input<'a>,
    /// Where the opcode in progress is.
    at: usize,
    steps: usize,
    stack: Stack<'a>,
    memo: HashMap<usize, Value<'a>>,
    pub(super) heap: Heap<'a>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value<'a>> {
        loop {
            self.at = self.input.at();
            self.spend(1)?;
            match self.byte()? {
                op::STOP => return self.pop(),
                code => self.step(code)?,
            }
        }
    }

    fn step(&mut self, code: u8) -> Result<()> {
        match code {
            op::PROTO => return self.protocol(),
            // Frames only tell a reader how much to fetch at once.
            op::FRAME => return self.input.take(8).map(drop),

            op::MARK => self.stack.mark(),
            op::BINPUT => return self.memo_put::<1>(),
            op::LONG_BINPUT => return self.memo_put::<4>(),
            op::MEMOIZE => return self.memoize(self.memo.len()),
            op::BINGET => return self.memo_get::<1>(),
            op::LONG_BINGET => return self.memo_get::<4>(),

            op::APPEND => {
                let item = self.pop()?;
                self.list()?.push(item);
            }
            op::APPENDS => {
                let mut items = self.pop_mark()?;
                self.list()?.append(&mut items);
            }
            op::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            op::SETITEMS => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            op::ADDITEMS => {
                self.pop_mark()?;
            }
            op::BUILD => return self.build(),
            code => {
                let value = self.value(code)?;
                self.stack.push(value);
            }
        }
        Ok(())
    }

    /// What an opcode leaves on the stack.
    fn value(&mut self, code: u8) -> Result<Value<'a>> {
        Ok(match code {
            op::NONE => Value::None,
            op::NEWTRUE | op::NEWFALSE => Value::Plain("a bool"),
            op::BININT => {
                let unsigned = self.input.unsigned::<4>()?;
                Value::Int(i64::from(unsigned as u32 as i32))
            }
            op::BININT1 => Value::Int(self.input.unsigned::<1>()? as i64),
            op::BININT2 => Value::Int(self.input.unsigned::<2>()? as i64),
            op::LONG1 => long(self.input.counted::<1>()?),
            op::LONG4 => long(self.input.counted::<4>()?),
            op::BINFLOAT => {
                self.input.take(8)?;
                Value::Plain("a float")
            }

            op::SHORT_BINUNICODE => Value::Str(self.input.text::<1>()?),
            op::BINUNICODE => Value::Str(self.input.text::<4>()?),
            op::BINUNICODE8 => Value::Str(self.input.text::<8>()?),
            op::SHORT_BINSTRING => text_or_bytes(self.input.counted::<1>()?),
            op::BINSTRING => text_or_bytes(self.input.counted::<4>()?),
            op::SHORT_BINBYTES => plain_bytes(self.input.counted::<1>()?),
            op::BINBYTES => plain_bytes(self.input.counted::<4>()?),
            op::BINBYTES8 => plain_bytes(self.input.counted::<8>()?),

            op::EMPTY_TUPLE => self.heap.tuple(Vec::new()),
            op::TUPLE1 => self.tuple(1)?,
            op::TUPLE2 => self.tuple(2)?,
            op::TUPLE3 => self.tuple(3)?,
            op::TUPLE => {
                let items = self.pop_mark()?;
                self.heap.tuple(items)
            }
            op::EMPTY_LIST => self.heap.list(),
            op::EMPTY_DICT => self.heap.dict(Vec::new()),
            op::EMPTY_SET => Value::Plain("a set"),
            op::FROZENSET => {
                self.pop_mark()?;
                Value::Plain("a set")
            }

            op::GLOBAL => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                Value::Global(globals::find(module, name, self.at)?)
            }
            op::STACK_GLOBAL => match (self.pop()?, self.pop()?) {
                (Value::Str(name), Value::Str(module)) => {
                    Value::Global(globals::find(module, name, self.at)?)
                }
                _ => return Err(self.malformed("a name that is not text")),
            },
            op::REDUCE => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                self.call(function, arguments)?
            }
            op::BINPERSID => {
                let id = self.pop()?;
                self.storage(id)?
            }
            code => return Err(Problem::Opcode { code, at: self.at }),
        })
    }

    fn protocol(&mut self) -> Result<()> {
        match self.byte()? {
            2..=4 => Ok(()),
            _ => Err(self.malformed("a protocol other than 2, 3 and 4")),
        }
    }

    /// Attributes: of an OrderedDict, where torch notes its modules' versions (`_metadata`), and of nothing else.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) => Ok(()),
            _ => Err(self.malformed("attributes of something that has none")),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.input.unsigned::<1>()? as u8)
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        self.stack.pop().ok_or_else(|| self.underflow())
    }

    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>> {
        self.stack.pop_section().ok_or_else(|| self.underflow())
    }

    fn top(&self) -> Result<Value<'a>> {
        self.stack.top().ok_or_else(|| self.underflow())
    }

    fn tuple(&mut self, size: usize) -> Result<Value<'a>> {
        let items = self.stack.pop_many(size);
        let items = items.ok_or_else(|| self.underflow())?;
        Ok(self.heap.tuple(items))
    }

    fn list(&mut self) -> Result<&mut Vec<Value<'a>>> {
        let damage = self.malformed("an item for something that is no list");
        let Value::List(place) = self.top()? else {
            return Err(damage);
        };
        self.heap.sequence_mut(place).ok_or(damage)
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Result<()> {
        let damage = self.malformed("an entry for something that is no dict");
        let Value::Dict(place) = self.top()? else {
            return Err(damage);
        };
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(self.malformed("a key without a value"));
        };
        let dict = self.heap.items_mut(place).ok_or(damage)?;
        dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    fn memo_put<const N: usize>(&mut self) -> Result<()> {
        let key = self.input.unsigned::<N>()?;
        self.memoize(key)
    }

    fn memoize(&mut self, key: usize) -> Result<()> {
        let value = self.top()?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn memo_get<const N: usize>(&mut self) -> Result<()> {
        let key = self.input.unsigned::<N>()?;
        let value = self.memo.get(&key).copied();
        let value = value.ok_or_else(|| self.malformed("a reference to nothing"))?;
        self.stack.push(value);
        Ok(())
    }

    /// Counts work that the pickle causes, whatever its length.
    pub(super) fn spend(&mut self, steps: usize) -> Result<()> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps <= MOST_STEPS {
            return Ok(());
        }
        Err(Problem::TooLarge {
            what: "steps of the pickle",
            limit: MOST_STEPS as u64,
        })
    }

    pub(super) fn malformed(&self, why: &'static str) -> Problem {
        Problem::Malformed { at: self.at, why }
    }

    fn underflow(&self) -> Problem {
        self.malformed("an operation on more values than there are")
    }
}

fn long(bytes: &[u8]) -> Value<'_> {
    let Some((sign, _)) = bytes.split_last() else {
        return Value::Int(0);
    };
    let mut wide = [if *sign < 0x80 { 0 } else { 0xff }; 8];
    match wide.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Value::Long(bytes),
    }
    Value::Int(i64::from_le_bytes(wide))
}

/// Python 2 wrote text and bytes alike.
fn text_or_bytes(bytes: &[u8]) -> Value<'_> {
    std::str::from_utf8(bytes).map_or(Value::Plain("bytes"), Value::Str)
}

fn plain_bytes(_: &[u8]) -> Value<'_> {
    Value::Plain("bytes")
}
