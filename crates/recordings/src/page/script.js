"use strict";(()=>{const list=document.getElementById("calls"),tools=list.querySelector(".tools");
const calls=[...list.querySelectorAll(".call")];
const show=()=>{const call=location.hash.length>1&&document.getElementById(location.hash.slice(1));if(call){call.open=true;call.scrollIntoView()}};
addEventListener("hashchange",show);show();
if(calls.length<2)return;tools.hidden=false;
const [find,order]=tools.children;
find.addEventListener("input",()=>{const text=find.value.toLowerCase();for(const call of calls)call.hidden=!call.dataset.name.toLowerCase().includes(text)});
order.addEventListener("change",()=>{const by=order.value,sorted=by?[...calls].sort((a,b)=>b.dataset[by]-a.dataset[by]):calls;list.append(...sorted)})})();
