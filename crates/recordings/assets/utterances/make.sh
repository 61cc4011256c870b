#!/usr/bin/env bash
# Makes the utterances of this folder anew: one WAV file (8 kHz, mu-law, mono) for each voice and
# index.csv, which says where each utterance begins. Needs flite and sox.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# kind and text; every voice says each line.
lines() {
  cat <<'LINES'
answer|Hello?
answer|Yes, this is she speaking.
answer|Hi, who is calling please?
phrase|I would like to move my appointment.
phrase|Could we do Thursday afternoon?
phrase|That does not work for me.
phrase|The number is five five five, zero one nine.
phrase|Let me check my calendar for a second.
phrase|No, I never received the package.
phrase|What time do you close on Friday?
phrase|My order was placed about two weeks ago.
phrase|Sorry, could you say that again?
phrase|Please send it to the office.
phrase|I think that is all for today.
stop|Wait, hold on a second.
stop|No no, that is not what I meant.
backchannel|Uh huh.
backchannel|Yeah.
backchannel|Okay.
backchannel|Right.
LINES
}

echo "voice,kind,start,samples,text" >index.csv
for voice in awb rms slt kal16; do
  start=0
  parts=()
  n=0
  while IFS='|' read -r kind text; do
    n=$((n + 1))
    flite -voice "$voice" -t "$text" -o "$work/raw.wav"
    # Silence before and after is cut here, the last decibels where the file is loaded.
    sox -D "$work/raw.wav" -b 16 "$work/$n.wav" gain -n -6 rate -v 8000 \
      silence 1 0.005 0.1% reverse silence 1 0.005 0.1% reverse
    samples=$(soxi -s "$work/$n.wav")
    printf '%s,%s,%d,%d,"%s"\n' "$voice" "$kind" "$start" "$samples" "$text" >>index.csv
    start=$((start + samples))
    parts+=("$work/$n.wav")
  done < <(lines)
  sox -D "${parts[@]}" -e mu-law -b 8 "$voice.wav"
done
