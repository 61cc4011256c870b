use dialtone_inference::{DecodeError, Row};

use crate::engines::{CONTEXT, SLOTS, each};

#[test]
fn sizes_are_those_asked_for() {
    each(|engine| {
        let shape = engine.decoder.shape();
        assert_eq!((shape.vocab, shape.context, shape.slots), (320, CONTEXT, SLOTS));
        let kv = engine.decoder.kv();
        assert!(kv.total >= CONTEXT && kv.used == 0, "{}: {kv:?}", engine.name);
    });
}

#[test]
fn room_is_promised_before_it_is_used() {
    each(|mut engine| {
        let total = engine.decoder.kv().total;
        let mut reserved = 0;
        let mut slot = 0;
        while slot + 1 < SLOTS && reserved + CONTEXT <= total {
            engine.decoder.open(slot, &[1, 2, 3], CONTEXT).expect("room");
            reserved += CONTEXT;
            slot += 1;
        }
        assert!(engine.decoder.kv().used >= reserved, "{}", engine.name);
        let left = total - engine.decoder.kv().used;
        let wanted = left + 64;
        if wanted <= CONTEXT {
            let refused = engine.decoder.open(slot, &[1], wanted);
            assert!(matches!(refused, Err(DecodeError::NoRoom { .. })), "{refused:?}");
        }
        (0..slot).for_each(|slot| engine.decoder.close(slot));
        assert_eq!(engine.decoder.kv().used, 0, "{}", engine.name);
        let text: Vec<u32> = (0..CONTEXT as u32).collect();
        engine.decoder.open(slot, &text, CONTEXT).expect("there is room again");
        engine.run(slot, 0, &text, 64);
    });
}

#[test]
fn rows_that_break_the_rules_are_refused_and_harm_nothing() {
    each(|mut engine| {
        let text = [5, 6, 7, 8];
        let alone = engine.alone(&text);
        engine.forget();
        assert!(engine.decoder.open(SLOTS, &text, 8).is_err());
        assert!(engine.decoder.open(0, &[], 8).is_err());
        assert!(engine.decoder.open(0, &text, 3).is_err());
        assert!(engine.decoder.open(0, &text, CONTEXT + 1).is_err());
        engine.decoder.open(0, &text, 8).expect("room");
        assert!(engine.decoder.open(0, &text, 8).is_err());
        for (slot, position, token) in [(0, 1, 5), (0, 0, 999_999), (1, 0, 5), (SLOTS, 0, 5)] {
            let good = Row { slot: 0, position: 0, token: 5, logits: false };
            let bad = Row { slot, position, token, logits: true };
            let rows = if position == 1 { vec![bad] } else { vec![good, bad] };
            assert!(engine.decoder.decode(&rows, &mut Vec::new()).is_err(), "{}", engine.name);
        }
        let logits = engine.run(0, 0, &text, 4);
        engine.same(&alone, &logits, "after refusals");
    });
}
